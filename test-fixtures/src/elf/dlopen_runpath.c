// dlopen searches the DT_RUNPATH of the object that calls it, with its $ORIGIN.
//# cflags: -D_GNU_SOURCE
//# beside: path_leaf in deep
//# runpath: $ORIGIN/nowhere:$ORIGIN/deep
//# rows: runpath
#include <dlfcn.h>
int answer(void) {
    void *leaf = dlopen("libpath_leaf.so", RTLD_NOW);
    int (*value)(void) = leaf ? dlsym(leaf, "path_leaf") : 0;
    return value ? value() + 30 : 1;
}
