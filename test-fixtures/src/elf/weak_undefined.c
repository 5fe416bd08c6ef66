// Undefined weak function and data: NULL, not an error, beside a weak reference that is defined.
//# needs: provider
//# rows: bind:GLOB_DAT
#include "fixture.h"
extern __attribute__((weak)) int weak_nowhere(void);
extern __attribute__((weak)) int weak_nothing;
extern __attribute__((weak)) int provided_value;
static int (*volatile pointer)(void) = weak_nowhere;
int answer(void) {
    if (opaque((void *)weak_nowhere) || opaque(&weak_nothing) || pointer) return 1;
    return opaque(&provided_value) ? provided_value + 12 : 2;
}
