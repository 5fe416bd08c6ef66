// SHN_ABS: the value of an absolute symbol is used without adding the base, by GLOB_DAT and by 64.
//# needs: absolute_provider
//# rows: bind:GLOB_DAT, bind:64
#include "fixture.h"
extern char absolute_forty;
static char *volatile by_64 = &absolute_forty + 1;
int answer(void) { return by_64 == (char *)41 ? (int)(uintptr_t)opaque(&absolute_forty) + 2 : 1; }
