// Spans more than 4 GiB, nearly all of it zero-fill: refused unless the caller allows that much.
//# cflags: -mcmodel=large
//# answer: 42
//# expect: error SpanTooLarge 0x100000000
#include <stddef.h>
static char space[4ul << 30];
int answer(void) {
    volatile char *at = space;
    at[0] = 20;
    at[sizeof space - 1] = 22;
    return at[0] + at[sizeof space - 1];
}
