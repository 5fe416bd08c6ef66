// dlsym(RTLD_NEXT): the definition after the caller's own, in the caller's scope.
//# cflags: -D_GNU_SOURCE
//# needs: interpose_first, interpose_second
#include <dlfcn.h>
int interposed_pick(void) {
    int (*next)(void) = (int (*)(void))dlsym(RTLD_NEXT, "interposed_pick");
    return next ? next() + 2 : 1;
}
int answer(void) { return interposed_pick(); }
