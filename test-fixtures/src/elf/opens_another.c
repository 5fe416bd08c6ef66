// An object that opens another with dlopen, and finds a symbol of one that was opened as global.
#define _GNU_SOURCE
#include <dlfcn.h>
static void *opened;
int open_it(const char *path) { return (opened = dlopen(path, RTLD_NOW)) != 0; }
int keep_it(const char *path) {
    opened = dlopen(path, RTLD_NOW | RTLD_NODELETE);
    return opened != 0 && dlclose(opened) == 0;
}
int close_it(void) { return dlclose(opened); }
int find_lent(void) {
    int (*function)(void) = dlsym(RTLD_DEFAULT, "unload_lent");
    return function && function() == 42;
}
int answer(void) { return open_it("libm.so.6") ? 42 : 1; }
