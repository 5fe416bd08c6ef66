// DF_1_INITFIRST on a dependency: it is initialised before its siblings, wherever it is named.
//
// It is named between two siblings, so that neither the order of naming nor its reverse puts it first.
//# needs: initfirst_other, initfirst_dependency, initfirst_last, journal
//# rows: needs, init_array
#include "journal.h"
#include <string.h>
static __attribute__((constructor)) void start(void) { journal_append('t'); }
int answer(void) {
    const char *text = journal_text();
    return strlen(text) == 4 && text[0] == 'f' && text[3] == 't' ? 42 : 1;
}
