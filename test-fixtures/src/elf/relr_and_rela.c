// RELR and R_X86_64_RELATIVE side by side in one object.
//
// RELR can only describe even places, so the pointer at an odd address stays a RELATIVE.
//# cflags: -nostartfiles
//# ldflags: -Wl,-z,pack-relative-relocs
//# rows: relr, rebase
#include "fixture.h"
static int even = 20, odd = 22;
struct __attribute__((packed)) unaligned {
    char pad;
    int *pointer;
};
static int *volatile packed_pointer = &even;
static struct unaligned volatile loose __attribute__((aligned(16))) = {1, &odd};
int answer(void) {
    int *second = loose.pointer;
    return (relocated(packed_pointer) ? *packed_pointer : 1) + (relocated(second) ? *second : 1);
}
