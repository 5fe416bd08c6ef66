// RELATIVE entries scattered among symbolic ones, and no DT_RELACOUNT.
//# cflags: -nostartfiles
//# ldflags: -Wl,-z,nocombreloc
//# needs: provider
//# rows: rebase, bind:64
#include "fixture.h"
extern int provided_value;
static int own = 6;
struct mixed {
    int *a, *b, *c, *d;
};
static struct mixed volatile mixed = {&own, &provided_value, &own, &provided_value};
int answer(void) {
    if (!relocated(mixed.a) || !relocated(mixed.b) || !relocated(mixed.c) || !relocated(mixed.d)) return 1;
    return *mixed.a + *mixed.b + (mixed.a == mixed.c) * 3 + (mixed.b == mixed.d) * 3;
}
