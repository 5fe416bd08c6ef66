// Exports STT_GNU_IFUNC symbols, and uses one of them itself.
//# cflags: -nostartfiles
//# rows: bind:JUMP_SLOT
#include "fixture.h"
static int chosen(void) { return 14; }
static int (*choose(void))(void) { return chosen; }
int exported_ifunc(void) __attribute__((ifunc("choose")));
int exported_ifunc_too(void) __attribute__((ifunc("choose")));
int answer(void) { return jump_slot_filled(0) ? exported_ifunc() * 3 : 1; }
