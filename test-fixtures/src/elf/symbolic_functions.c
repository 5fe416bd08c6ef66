// -Bsymbolic-functions: a function stays inside the object, data is still found in the host (libc's opterr).
//# cflags: -fno-builtin
//# ldflags: -Wl,-Bsymbolic-functions
//# rows: bind:GLOB_DAT
#include "fixture.h"
int opterr = 100;
int atoi(const char *text) { return 41 + (text == 0); }
int answer(void) {
    const int *host = opaque(&opterr);
    return relocated(host) ? atoi("7") + *host : 1;
}
