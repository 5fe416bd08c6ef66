// The diamond's base: its initialiser notes 'b' in the journal.
//# needs: journal
//# answer: none
#include "journal.h"
static __attribute__((constructor)) void start(void) { journal_append('b'); }
