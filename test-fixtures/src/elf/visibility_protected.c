// A protected symbol is exported, yet the object itself always uses its own definition.
//
// Its address is bound by name (R_X86_64_64) so that all objects agree on it; the host's atoi must not be found.
//# cflags: -nostartfiles -fno-builtin
//# rows: bind:64
#include "fixture.h"
__attribute__((visibility("protected"))) int atoi(const char *text) { return 42 + (text == 0); }
static int (*volatile pointer)(const char *) = atoi;
int answer(void) { return relocated((void *)pointer) && pointer("7") == 42 ? atoi("7") : 1; }
