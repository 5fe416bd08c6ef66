// A RELRO range that ends inside a page is rounded down: the variable behind it stays writable.
//# ldflags: -Wl,-z,relro
//# patch: relro_inexact
#include "fixture.h"
static volatile int behind = 40;
int answer(void) {
    behind += 2;
    return behind;
}
