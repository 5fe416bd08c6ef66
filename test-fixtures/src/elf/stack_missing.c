// No PT_GNU_STACK at all, which by the old rule means an executable stack: opens, and is a finding.
//# patch: no_gnu_stack
//# glibc: skip
static volatile int value = 42;
int answer(void) { return value; }
