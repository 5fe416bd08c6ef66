// Needs libpath_leaf.so and has no search path of its own.
//# needs: path_leaf
//# runpath: none
//# answer: none
//# glibc: skip
extern int path_leaf(void);
int path_middle(void) { return path_leaf() + 10; }
