// DF_1_NOOPEN: the object says that it must not be opened at run time.
//# ldflags: -Wl,-z,nodlopen
//# expect: error Refused DF_1_NOOPEN
//# glibc: refuses
static volatile int value = 42;
int answer(void) { return value; }
