// Exports nothing: its hash table is empty, and only its initialiser speaks.
//# cflags: -fvisibility=hidden
//# needs: journal
//# answer: none
#include "journal.h"
static __attribute__((constructor)) void start(void) { journal_append('e'); }
