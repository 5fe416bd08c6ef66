// The diamond's right: its initialiser notes 'r' in the journal.
//# needs: diamond_base, journal
//# answer: none
#include "journal.h"
static __attribute__((constructor)) void start(void) { journal_append('r'); }
