// DF_1_NODELETE: opens, and is never unmapped.
//# ldflags: -Wl,-z,nodelete
static volatile int value = 42;
int answer(void) { return value; }
