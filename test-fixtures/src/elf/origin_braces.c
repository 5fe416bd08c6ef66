// DT_RUNPATH with ${ORIGIN}, the other spelling.
//# needs: path_leaf in deep
//# runpath: ${ORIGIN}/deep
//# rows: runpath
extern int path_leaf(void);
int answer(void) { return path_leaf() + 30; }
