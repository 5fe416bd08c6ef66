// DT_NEEDED names an object that is nowhere.
//# stub: libsideload_absent.so
//# expect: error NotFound libsideload_absent.so
//# glibc: refuses
int answer(void) { return 42; }
