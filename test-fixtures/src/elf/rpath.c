// DT_RPATH with $ORIGIN: the dependency lies in a folder beside the object.
//# needs: path_leaf in deep
//# runpath: $ORIGIN/deep
//# ldflags: -Wl,--disable-new-dtags
//# rows: rpath
extern int path_leaf(void);
int answer(void) { return path_leaf() + 30; }
