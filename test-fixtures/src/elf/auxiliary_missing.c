// DT_AUXILIARY names an object that is nowhere: no error, the object's own definitions serve.
//# ldflags: -Wl,-f,libsideload_absent.so
int auxiliary_own(void) { return 42; }
int answer(void) { return auxiliary_own(); }
