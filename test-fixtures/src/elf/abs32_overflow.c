// R_X86_64_32 against an address above 4 GiB: does not fit, and says so.
//
// glibc only prints a message and goes on with a truncated address.
//# needs: provider
//# patch: abs32
//# expect: error Overflow
//# glibc: skip
#include "fixture.h"
extern int provided_value;
static volatile uintptr_t slot = (uintptr_t)&provided_value;
int answer(void) { return (int)slot == 0 ? 42 : 1; }
