// R_X86_64_PC32: the distance from a place to a symbol, in 32 bits.
//
// The linker refuses it in a shared object, so a 64-bit relocation of the slot is changed afterwards.
//# patch: pc32
//# rows: bind:PC32
#include "fixture.h"
int pc32_target = 42;
static volatile uintptr_t slot __attribute__((aligned(16))) = (uintptr_t)&pc32_target;
int answer(void) {
    int32_t distance = (int32_t)slot;
    if (distance == 0) return 1;
    return *(int *)((char *)&slot + distance);
}
