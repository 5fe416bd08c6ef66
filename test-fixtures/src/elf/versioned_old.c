// An earlier build of `versioned` that has only the first version.
//# soname: libversioned.so
//# ldflags: -Wl,--version-script={src}/versioned_old.map
//# answer: 0
int versioned_value(void) { return 12; }
int answer(void) { return 0; }
