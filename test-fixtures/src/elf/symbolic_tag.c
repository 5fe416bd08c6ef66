// DT_SYMBOLIC, the older way to say DF_SYMBOLIC.
//# cflags: -fno-builtin -nostartfiles
//# patch: symbolic_tag
//# rows: bind:JUMP_SLOT
#include "fixture.h"
int atoi(const char *text) { return 42 + (text == 0); }
int answer(void) { return jump_slot_filled(0) ? atoi("7") : 1; }
