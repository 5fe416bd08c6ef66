// DT_INIT runs and receives argc, argv and envp.
//# cflags: -nostartfiles
//# ldflags: -Wl,-init=start
//# rows: init
#include "fixture.h"
static int state = 1;
void start(int argc, char **argv, char **envp) {
    state = argc >= 1 && argv && argv[0] && !argv[argc] && envp == argv + argc + 1 ? 42 : 2;
}
int answer(void) { return state; }
