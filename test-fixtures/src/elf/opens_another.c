// An object that opens another with dlopen, and finds a symbol of one that was opened as global.
#define _GNU_SOURCE
#include <dlfcn.h>
int open_it(const char *path) { return dlopen(path, RTLD_NOW) != 0; }
int find_lent(void) {
    int (*function)(void) = dlsym(RTLD_DEFAULT, "unload_lent");
    return function && function() == 42;
}
int answer(void) { return open_it("libm.so.6") ? 42 : 1; }
