// R_X86_64_64 against another object's symbol, with and without an addend.
//# cflags: -nostartfiles
//# needs: provider
//# rows: bind:64
#include "fixture.h"
extern int provided_value, provided_array[4];
static int *volatile plain = &provided_value;
static int *volatile with_addend = &provided_array[3];
int answer(void) {
    if (!relocated(plain) || !relocated(with_addend)) return 1;
    return *plain + *with_addend + 4;
}
