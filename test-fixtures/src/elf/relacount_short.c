// DT_RELACOUNT smaller than the number of RELATIVE entries: the rest still has to be applied.
//# cflags: -nostartfiles
//# patch: relacount_one
//# rows: rebase
#include "fixture.h"
static const int parts[4] = {10, 20, 5, 7};
static const int *const volatile table[] = {&parts[0], &parts[1], &parts[2], &parts[3]};
int answer(void) {
    int sum = 0;
    for (int i = 0; i < 4; i++) sum += relocated(table[i]) ? *table[i] : 100;
    return sum;
}
