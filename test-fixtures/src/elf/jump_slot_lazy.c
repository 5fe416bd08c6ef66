// R_X86_64_JUMP_SLOT in an object linked for lazy binding; bound eagerly all the same.
//# cflags: -nostartfiles
//# ldflags: -Wl,-z,lazy
//# needs: provider
//# rows: bind:JUMP_SLOT
#include "fixture.h"
extern int provided_function(void);
int answer(void) { return jump_slot_filled(0) ? provided_function() + 30 : 1; }
