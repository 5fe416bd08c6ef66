// A finaliser that leaves something behind: the destructor of a thread-local that it is the first to use.
//# rows: tls
#include "fixture.h"
struct Noted {
    int value;
    ~Noted() { value = 0; }
};
static thread_local Noted noted{3};
static thread_local volatile int plain = 42;
static volatile int finished;
static __attribute__((destructor)) void finish() { finished = noted.value; }
EXPORT int answer() { return plain; }
