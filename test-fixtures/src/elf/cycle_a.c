// A dependency cycle (a needs b needs a): both relocated against each other, each initialised once.
//# needs: cycle_b, journal
//# rows: needs, init_array
#include "journal.h"
#include <string.h>
extern int cycle_from_b(void);
static __attribute__((constructor)) void start(void) { journal_append('a'); }
int cycle_from_a(void) { return 22; }
int answer(void) {
    const char *text = journal_text();
    return (strlen(text) == 2 && strchr(text, 'a') && strchr(text, 'b')) ? cycle_from_b() : 1;
}
