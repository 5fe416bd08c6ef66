// JUMP_SLOT, GLOB_DAT and 64 against IFUNCs of a dependency: each holds what the resolver returned.
//
// The linker gives a function that is both called and pointed to one GLOB_DAT for both: hence the second function.
//# cflags: -nostartfiles
//# needs: ifunc_exported
//# rows: bind:JUMP_SLOT, bind:GLOB_DAT, bind:64
#include "fixture.h"
extern int exported_ifunc(void), exported_ifunc_too(void);
static int (*volatile by_64)(void) = exported_ifunc;
int answer(void) {
    int (*by_got)(void) = (int (*)(void))opaque((void *)exported_ifunc);
    if (!relocated((void *)by_64) || !relocated((void *)by_got) || !jump_slot_filled(0)) return 1;
    return by_64() + by_got() + exported_ifunc_too();
}
