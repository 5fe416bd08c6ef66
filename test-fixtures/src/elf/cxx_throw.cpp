// A C++ exception thrown and caught inside the object, with a destructor run on the way.
//# rows: unwind
#include "fixture.h"
static int cleaned;
struct Cleanup {
    ~Cleanup() { cleaned = 2; }
};
__attribute__((noinline)) static void thrower(int value) {
    Cleanup cleanup;
    if (opaque(&cleanup)) throw value;
}
EXPORT int answer() {
    try {
        thrower(40);
    } catch (int value) {
        return value + cleaned;
    }
    return 1;
}
