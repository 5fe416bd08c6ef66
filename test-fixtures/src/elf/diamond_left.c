// The diamond's left: its initialiser notes 'l' in the journal.
//# needs: diamond_base, journal
//# answer: none
#include "journal.h"
static __attribute__((constructor)) void start(void) { journal_append('l'); }
