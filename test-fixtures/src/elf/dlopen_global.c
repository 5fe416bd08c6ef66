// An object that dlopen opened as local is found by RTLD_DEFAULT once it was opened as global, also with RTLD_NOLOAD.
//# cflags: -D_GNU_SOURCE
//# beside: path_leaf
#include <dlfcn.h>
int answer(void) {
    if (dlopen("libpath_leaf.so", RTLD_NOW | RTLD_NOLOAD) || dlerror()) return 1;
    void *leaf = dlopen("libpath_leaf.so", RTLD_NOW | RTLD_LOCAL);
    if (!leaf || dlsym(RTLD_DEFAULT, "path_leaf")) return 2;
    dlerror();
    if (dlopen("libpath_leaf.so", RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL) != leaf) return 3;
    int (*value)(void) = dlsym(RTLD_DEFAULT, "path_leaf");
    if (!value || dlerror()) return 4;
    if (dlclose(leaf) || dlclose(leaf)) return 5;
    return value() + 30;
}
