// R_X86_64_RELATIVE: a table of pointers into the object itself.
//# cflags: -nostartfiles
//# rows: rebase
#include "fixture.h"
static const int parts[3] = {10, 20, 12};
static const int *const volatile table[] = {&parts[0], &parts[1], &parts[2]};
int answer(void) {
    int sum = 0;
    for (int i = 0; i < 3; i++) sum += relocated(table[i]) ? *table[i] : 100;
    return sum;
}
