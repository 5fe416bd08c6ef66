// An exception thrown in one object and caught, by its class, in another.
//# needs: cxx_thrower
//# rows: unwind
#include "cxx_thrower.h"
#include "fixture.h"
EXPORT int answer() {
    try {
        throw_problem(42);
    } catch (const Problem &problem) {
        return problem.number();
    } catch (...) {
        return 2;
    }
    return 1;
}
