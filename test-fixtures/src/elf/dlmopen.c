// dlmopen opens in the one namespace there is as dlopen does; a new one is an answer or an error with a text.
//# cflags: -D_GNU_SOURCE
//# beside: path_leaf
#include <dlfcn.h>
#include <string.h>
int answer(void) {
    void *leaf = dlopen("libpath_leaf.so", RTLD_NOW);
    if (!leaf || dlmopen(LM_ID_BASE, "libpath_leaf.so", RTLD_NOW) != leaf) return 1;
    int (*value)(void) = dlsym(leaf, "path_leaf");
    if (!value || dlerror()) return 2;
    void *apart = dlmopen(LM_ID_NEWLM, "libpath_leaf.so", RTLD_NOW);
    const char *text = dlerror();
    if (apart ? text != 0 || apart == leaf : !text || !strstr(text, "namespace")) return 3;
    return value() + 30;
}
