// DF_1_INTERPOSE: meant for preloaded objects; opened at run time it changes nothing in the scope.
//# ldflags: -Wl,-z,interpose
static volatile int value = 42;
int answer(void) { return value; }
