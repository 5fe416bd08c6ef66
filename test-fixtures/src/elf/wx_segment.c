// A segment that asks to be writable and executable at once: refused by default.
//# patch: writable_code
//# answer: 42
//# expect: error Refused
static volatile int value = 42;
int answer(void) { return value; }
