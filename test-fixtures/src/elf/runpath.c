// DT_RUNPATH with $ORIGIN, as the second of two folders.
//# needs: path_leaf in deep
//# runpath: $ORIGIN/nowhere:$ORIGIN/deep
//# rows: runpath
extern int path_leaf(void);
int answer(void) { return path_leaf() + 30; }
