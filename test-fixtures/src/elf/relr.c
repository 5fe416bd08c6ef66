// DT_RELR: addresses and bitmaps, with a run longer than one bitmap word and a gap between two runs.
//
// 200 adjacent pointers need an address word and four bitmaps (63 places each); the gap forces a second address.
//# cflags: -nostartfiles
//# ldflags: -Wl,-z,pack-relative-relocs
//# rows: relr
#include "fixture.h"
#define TEN(x) x, x, x, x, x, x, x, x, x, x
#define HUNDRED(x) TEN(x), TEN(x), TEN(x), TEN(x), TEN(x), TEN(x), TEN(x), TEN(x), TEN(x), TEN(x)
static int one = 1;
struct spread {
    int *first[200];
    long gap[400];
    int *second[3];
};
static struct spread volatile spread = {{HUNDRED(&one), HUNDRED(&one)}, {7}, {&one, &one, &one}};
int answer(void) {
    int sum = 0;
    for (int i = 0; i < 200; i++) sum += relocated(spread.first[i]) ? *spread.first[i] : 1000;
    for (int i = 0; i < 3; i++) sum += relocated(spread.second[i]) ? *spread.second[i] : 1000;
    for (int i = 1; i < 400; i++) sum += spread.gap[i] != 0;
    return sum - 203 + 42;
}
