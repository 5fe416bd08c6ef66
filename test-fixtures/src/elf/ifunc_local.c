// R_X86_64_IRELATIVE: a local function chosen by a resolver.
//# cflags: -nostartfiles
//# rows: resolver
#include "fixture.h"
static int chosen(void) { return 42; }
static int (*choose(void))(void) { return chosen; }
static int selected(void) __attribute__((ifunc("choose")));
int answer(void) { return jump_slot_filled(0) ? selected() : 1; }
