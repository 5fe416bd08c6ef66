// A name that others find with dlsym.
static volatile int value = 42;
int unload_lent(void) { return value; }
int answer(void) { return unload_lent(); }
