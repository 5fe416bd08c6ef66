// Half of a dependency cycle: needs libcycle_a.so, which needs this one.
//# needs: journal
//# stub: libcycle_a.so
//# ldflags: -Wl,-z,undefs
//# answer: none
//# glibc: skip
#include "journal.h"
extern int cycle_from_a(void);
static __attribute__((constructor)) void start(void) { journal_append('b'); }
int cycle_from_b(void) { return cycle_from_a() + 20; }
