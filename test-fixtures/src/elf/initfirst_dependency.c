// DF_1_INITFIRST: notes 'f' in the journal, before anything else of its group.
//# ldflags: -Wl,-z,initfirst
//# needs: journal
//# answer: none
#include "journal.h"
static __attribute__((constructor)) void start(void) { journal_append('f'); }
