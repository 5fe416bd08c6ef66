// A build of `versioned` from before it had versions, to link consumers against.
//# soname: libversioned.so
//# answer: none
int versioned_value(void) { return 0; }
