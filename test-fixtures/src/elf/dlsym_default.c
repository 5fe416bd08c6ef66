// dlsym(RTLD_DEFAULT) and dlsym of a name in the image's own group, called by the image.
//
// RTLD_DEFAULT answers from the scope of the object that calls: the host first, then its own group.
//# cflags: -D_GNU_SOURCE
//# needs: provider
#include <dlfcn.h>
int answer(void) {
    int *value = dlsym(RTLD_DEFAULT, "provided_value");
    int (*parse)(const char *) = (int (*)(const char *))dlsym(RTLD_DEFAULT, "atoi");
    if (!value || !parse || dlsym(RTLD_DEFAULT, "sideload_nowhere")) return 1;
    return *value + parse("12");
}
