// DT_INIT runs before DT_INIT_ARRAY of the same object, each once.
//# cflags: -nostartfiles
//# ldflags: -Wl,-init=start
//# rows: init, init_array
static int state;
void start(void) { state = state * 10 + 4; }
static __attribute__((constructor)) void first(void) { state = state * 10 + 2; }
int answer(void) { return state; }
