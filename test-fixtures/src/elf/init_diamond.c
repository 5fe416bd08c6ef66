// Initialisers over a diamond of dependencies: the base first and once, the top last.
//# needs: diamond_left, diamond_right, journal
//# rows: needs, init_array
#include "journal.h"
#include <string.h>
static __attribute__((constructor)) void start(void) { journal_append('t'); }
int answer(void) {
    const char *text = journal_text();
    return !strcmp(text, "blrt") || !strcmp(text, "brlt") ? 42 : 1;
}
