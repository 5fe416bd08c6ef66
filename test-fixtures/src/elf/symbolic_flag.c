// DF_SYMBOLIC: the object's own definition comes before the host's atoi.
//
// The linker's -Bsymbolic would bind the call itself and leave nothing to prove, so the flag is set afterwards.
//# cflags: -fno-builtin -nostartfiles
//# patch: symbolic
//# rows: symbolic, bind:JUMP_SLOT
#include "fixture.h"
int atoi(const char *text) { return 42 + (text == 0); }
int answer(void) { return jump_slot_filled(0) ? atoi("7") : 1; }
