// DT_INIT_ARRAY entries run in order and receive argc, argv and envp.
//# rows: init_array
#include "fixture.h"
static int state = 1;
static __attribute__((constructor(101))) void first(int argc, char **argv, char **envp) {
    state = argc >= 1 && argv && argv[0] && !argv[argc] && envp ? 20 : 2;
}
static __attribute__((constructor(102))) void second(int argc, char **argv) {
    state = state == 20 && argv[argc - 1] ? 41 : 3;
}
static __attribute__((constructor)) void third(void) { state += 1; }
int answer(void) { return state; }
