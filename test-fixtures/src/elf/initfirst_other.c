// An ordinary dependency beside one with DF_1_INITFIRST: notes 'o'.
//# needs: journal
//# answer: none
#include "journal.h"
static __attribute__((constructor)) void start(void) { journal_append('o'); }
