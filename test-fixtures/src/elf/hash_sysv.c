// The SysV hash table alone (no DT_GNU_HASH): 64 own symbols are found through it.
//
// The functions are preemptible and called through the PLT, so each call is bound by a lookup by name.
//# ldflags: -Wl,--hash-style=sysv
//# rows: sysv_hash
#include "fixture.h"
#define NAME(a, b) hash_sysv_##a##b
#define DEFINE(a, b) __attribute__((noinline)) int NAME(a, b)(void) { return 0##a##b; }
#define ADD(a, b) sum += NAME(a, b)();
#define EIGHT(m, a) m(a, 0) m(a, 1) m(a, 2) m(a, 3) m(a, 4) m(a, 5) m(a, 6) m(a, 7)
#define ALL(m) EIGHT(m, 0) EIGHT(m, 1) EIGHT(m, 2) EIGHT(m, 3) EIGHT(m, 4) EIGHT(m, 5) EIGHT(m, 6) EIGHT(m, 7)
ALL(DEFINE)
// The octal names count from 0 to 63: together 2016.
int answer(void) {
    int sum = 0;
    ALL(ADD)
    return sum - 2016 + 42;
}
