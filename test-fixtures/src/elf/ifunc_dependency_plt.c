// An exported IFUNC whose resolver calls through its own object's PLT, bound from another object.
//# cflags: -nostartfiles
//# ldflags: -Wl,-z,now
//# needs: ifunc_calling_provider
//# rows: bind:JUMP_SLOT
#include "fixture.h"
extern int calling_ifunc(void);
int answer(void) { return jump_slot_filled(0) ? calling_ifunc() : 1; }
