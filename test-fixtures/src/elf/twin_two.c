// One of two different files with the same base name in two folders: two objects, not one.
//# file: libtwin.so
//# soname: none
//# answer: 42
int twin_value(void) { return 42; }
int answer(void) { return twin_value(); }
