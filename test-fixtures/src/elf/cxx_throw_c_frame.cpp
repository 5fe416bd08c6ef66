// An exception that passes through a C function's frame in another object.
//# needs: c_frame
//# rows: unwind
#include "fixture.h"
extern "C" int through_c(void (*)(int), int);
static void thrower(int value) { throw value; }
EXPORT int answer() {
    try {
        return through_c(thrower, 42) - 100;
    } catch (int value) {
        return value;
    }
}
