// Segments with p_align of 64 KiB, above the page size.
//# cflags: -nostartfiles
//# ldflags: -Wl,-z,max-page-size=65536
//# rows: rebase
#include "fixture.h"
static __attribute__((aligned(65536))) volatile int aligned = 40;
static volatile int *volatile pointer = &aligned;
int answer(void) {
    if (!relocated((void *)pointer)) return 1;
    return (uintptr_t)opaque((void *)&aligned) % 65536 == 0 ? *pointer + 2 : 2;
}
