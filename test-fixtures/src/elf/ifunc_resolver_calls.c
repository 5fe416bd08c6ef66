// A resolver that calls through its own PLT and reads a relocated table: both must be ready before it runs.
//# cflags: -nostartfiles -fno-builtin
//# ldflags: -Wl,-z,now
//# needs: provider
//# rows: resolver, rebase, bind:JUMP_SLOT, bind:GLOB_DAT
#include "fixture.h"
extern int provided_function(void), provided_value;
static int right(void) { return 42; }
static int wrong(void) { return 1; }
static int (*const volatile table[])(void) = {wrong, right};
static int (*choose(void))(void) { return table[provided_function() == 12 && provided_value == 30]; }
static int selected(void) __attribute__((ifunc("choose")));
int answer(void) { return jump_slot_filled(1) ? selected() : 1; }
