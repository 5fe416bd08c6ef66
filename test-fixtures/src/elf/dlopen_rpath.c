// dlopen searches the DT_RPATH of the object that calls it, and of the one that loaded that.
//# cflags: -D_GNU_SOURCE
//# needs: dlopen_caller
//# beside: path_leaf in deep
//# runpath: $ORIGIN/deep:$ORIGIN
//# ldflags: -Wl,--disable-new-dtags
//# rows: rpath
extern int opened_by_name(void);
int answer(void) { return opened_by_name() + 30; }
