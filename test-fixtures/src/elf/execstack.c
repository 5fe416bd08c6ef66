// An executable PT_GNU_STACK: opens, stacks stay as they are, and it is a finding.
//
// What the system loader does depends on its version: it makes stacks executable, or (glibc 2.41) refuses.
//# ldflags: -Wl,-z,execstack
//# glibc: skip
static volatile int value = 42;
int answer(void) { return value; }
