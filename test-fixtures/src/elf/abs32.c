// R_X86_64_32: an absolute value that fits in 32 bits, here that of an SHN_ABS symbol.
//# needs: absolute_provider
//# patch: abs32
//# rows: bind:32
#include "fixture.h"
extern char absolute_forty;
static volatile uintptr_t slot = (uintptr_t)(&absolute_forty + 2);
int answer(void) { return (int)slot; }
