// An exception in an object whose .eh_frame lacks the zero terminator: a registration by its start runs off the end.
//
// The terminator is crtend.o's; without the start-up objects there is none.
//# cflags: -nostartfiles
//# rows: unwind
#include "fixture.h"
__attribute__((noinline)) static void thrower(int value) { throw value; }
EXPORT int answer() {
    try {
        thrower(42);
    } catch (int value) {
        return value;
    }
    return 1;
}
