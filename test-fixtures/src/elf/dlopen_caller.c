// Opens what its caller's search paths lead to; has none itself.
//# cflags: -D_GNU_SOURCE
//# runpath: none
//# answer: none
#include <dlfcn.h>
int opened_by_name(void) {
    void *leaf = dlopen("libpath_leaf.so", RTLD_NOW);
    int (*value)(void) = leaf ? dlsym(leaf, "path_leaf") : 0;
    return value ? value() : 1;
}
