// No relocation of any kind, yet an initialiser that has to run.
//# cflags: -nostdlib -fvisibility=hidden
//# ldflags: -Wl,-init=start
//# rows: init
#include "fixture.h"
static int state;
void start(void) { state = 42; }
EXPORT int answer(void) { return state; }
