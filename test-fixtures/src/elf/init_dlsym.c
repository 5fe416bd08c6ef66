// A lookup from inside an initialiser: the object that is being initialised is already in its own scope.
//# cflags: -D_GNU_SOURCE
//# rows: init_array
#include <dlfcn.h>
int init_dlsym_value = 42;
static int seen = 1;
static __attribute__((constructor)) void start(void) {
    int *value = dlsym(RTLD_DEFAULT, "init_dlsym_value");
    seen = value ? *value : 2;
}
int answer(void) { return seen; }
