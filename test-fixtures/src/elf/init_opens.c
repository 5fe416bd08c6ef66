// A constructor that opens its own object, which is not initialised yet, and another one, and looks up in both.
//# cflags: -D_GNU_SOURCE
//# beside: plugin
//# rows: init_array
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
int answer(void);
static int seen = 1;
static __attribute__((constructor)) void start(void) {
    char path[4096];
    Dl_info info;
    if (!dladdr((void *)answer, &info) || strlen(info.dli_fname) + 16 > sizeof path) return;
    void *self = dlopen(info.dli_fname, RTLD_NOW);
    if (!self || dlsym(self, "answer") != (void *)answer) {
        seen = 2;
        return;
    }
    strcpy(path, info.dli_fname);
    strcpy(strrchr(path, '/') + 1, "libplugin.so");
    void *other = dlopen(path, RTLD_NOW);
    int *count = other ? dlsym(other, "plugin_initialised") : 0;
    seen = count && *count == 1 ? 42 : 3;
}
int answer(void) { return seen; }
