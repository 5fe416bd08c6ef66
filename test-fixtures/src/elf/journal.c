// A note pad that initialisers of other fixtures write their order into.
//
// It has no initialiser of its own and no relocation that runs code, so it works before its own turn comes.
//# answer: none
#include "journal.h"
static char text[64];
static unsigned used;
void journal_append(char letter) {
    if (used + 1 < sizeof text) text[used++] = letter;
}
const char *journal_text(void) { return text; }
void journal_clear(void) {
    while (used) text[--used] = 0;
}
