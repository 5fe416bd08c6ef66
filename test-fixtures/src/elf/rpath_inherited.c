// DT_RPATH of the opened object also serves its dependencies' dependencies.
//# needs: path_middle
//# beside: path_leaf in deep
//# runpath: $ORIGIN:$ORIGIN/deep
//# ldflags: -Wl,--disable-new-dtags
//# rows: rpath
extern int path_middle(void);
int answer(void) { return path_middle() + 20; }
