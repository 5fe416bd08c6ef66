// What an unload runs, noted in the journal: a finaliser (f), then a handler of atexit (a) and the destructor of a static
// object (d), each once, in reverse order.
//# needs: journal
//# rows: needs, init_array
#include "fixture.h"
#include "journal.h"
#include <cstdlib>
#include <cstring>
struct Noted {
    Noted() { journal_append('o'); }
    ~Noted() { journal_append('d'); }
};
static Noted noted;
static void handler() { journal_append('a'); }
static __attribute__((destructor)) void finish() { journal_append('f'); }
EXPORT int answer() {
    const char *text = journal_text();
    return *text && text[strlen(text) - 1] == 'o' && std::atexit(handler) == 0 ? 42 : 1;
}
