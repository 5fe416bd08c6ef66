// A segment with p_align of 2 MiB: the reservation has to be aligned, not only page-aligned.
//# ldflags: -Wl,-z,max-page-size=2097152 -Wl,-z,noseparate-code
//# rows: zero_fill
#include "fixture.h"
static __attribute__((aligned(2097152))) volatile char block[4096];
static volatile int from_file = 42;
int answer(void) {
    if ((uintptr_t)opaque((void *)block) % 2097152) return 1;
    block[4095] = 1;
    return from_file - block[0];
}
