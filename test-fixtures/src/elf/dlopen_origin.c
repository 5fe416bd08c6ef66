// $ORIGIN in a path that dlopen is given is the folder of the object that calls it.
//# cflags: -D_GNU_SOURCE
//# beside: path_leaf in deep
//# runpath: none
#include <dlfcn.h>
int answer(void) {
    void *leaf = dlopen("$ORIGIN/deep/libpath_leaf.so", RTLD_NOW);
    int (*value)(void) = leaf ? dlsym(leaf, "path_leaf") : 0;
    return value && dlopen("${ORIGIN}/deep/libpath_leaf.so", RTLD_LAZY) == leaf ? value() + 30 : 1;
}
