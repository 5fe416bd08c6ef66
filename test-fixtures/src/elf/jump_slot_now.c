// R_X86_64_JUMP_SLOT in an object linked with DF_BIND_NOW, whose slots are sealed by RELRO.
//# cflags: -nostartfiles
//# ldflags: -Wl,-z,now
//# needs: provider
//# rows: bind:JUMP_SLOT
#include "fixture.h"
extern int provided_function(void);
int answer(void) { return jump_slot_filled(0) ? provided_function() + 30 : 1; }
