// Most mechanisms in one object: the good file that the malformed ones are made from.
//# cflags: -fno-builtin
//# ldflags: -Wl,--hash-style=both -Wl,-z,relro -Wl,--version-script={src}/everything.map
//# needs: provider
//# rows: rebase, bind:64, bind:GLOB_DAT, init_array, tls
#include "fixture.h"
#include <stdlib.h>
extern int provided_value, provided_function(void);
int everything_data = 5;
__thread int everything_local = 3;
static int started;
static int *volatile own = &started;
static int *volatile imported = &provided_value;
static int chosen(void) { return 1; }
static int (*choose(void))(void) { return chosen; }
int everything_ifunc(void) __attribute__((ifunc("choose")));
int everything_function(void) { return provided_function() - 10; }
static __attribute__((constructor)) void start(void) { started = 1; }
int answer(void) {
    const int *data = opaque(&everything_data);
    if (!relocated(own) || !relocated(imported) || !relocated(data)) return 1;
    return *own + *imported + *data + everything_function() + everything_ifunc() + everything_local * (abs(-3) == 3);
}
