// The host's definition (here libc's atoi) comes before the object's own one.
//# cflags: -fno-builtin -nostartfiles
//# rows: bind:JUMP_SLOT
#include "fixture.h"
int atoi(const char *text) { return 7 + (text == 0); }
int answer(void) { return jump_slot_filled(0) ? atoi("42") : 1; }
