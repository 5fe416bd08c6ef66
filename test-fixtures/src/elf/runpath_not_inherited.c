// DT_RUNPATH serves the object's own dependencies only: the leaf is not found.
//# needs: path_middle
//# beside: path_leaf in deep
//# runpath: $ORIGIN:$ORIGIN/deep
//# expect: error NotFound libpath_leaf.so libpath_middle.so
//# glibc: refuses
extern int path_middle(void);
int answer(void) { return path_middle() + 20; }
