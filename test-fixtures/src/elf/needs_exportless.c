// A dependency with an empty GNU hash table is searched, found empty, and still initialised.
//# needs: exportless, journal
//# rows: needs
#include "journal.h"
int answer(void) { return journal_text()[0] == 'e' ? 42 : 1; }
