// DT_TEXTREL on an object none of whose relocations change its code, as some linkers set it: opens as any other.
//# patch: textrel_tag
//# rows: rebase
#include "fixture.h"
static int value = 42;
static int *volatile pointer = &value;
int answer(void) { return relocated(pointer) ? *pointer : 1; }
