// Zero-fill: three anonymous pages, and the tail of the last page that still comes from the file.
//
// What follows the data in the file (section names, section headers) is mapped into that tail; it must be cleared.
//# ldflags: -Wl,-z,noseparate-code
//# rows: zero_fill
#include "fixture.h"
static volatile int from_file = 42;
static volatile unsigned char zeros[3 * 4096];
int answer(void) {
    // The tail first: without zero-fill the pages behind it may not even be there.
    const volatile unsigned char *end = (unsigned char *)(((uintptr_t)zeros + 4096) & ~4095ul);
    for (const volatile unsigned char *p = zeros; p < end; p++)
        if (*p) return 1;
    for (const volatile unsigned char *p = end; p < zeros + sizeof zeros; p++)
        if (*p) return 2;
    zeros[sizeof zeros - 1] = 1;
    return from_file;
}
