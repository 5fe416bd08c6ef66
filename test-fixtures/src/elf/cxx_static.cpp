// C++ static constructors at load, and their destructors at exit in reverse order.
//# rows: init_array
//# at_exit: second first.
#include "fixture.h"
#include <unistd.h>
struct Static {
    int value;
    const char *farewell;
    unsigned long length;
    Static(int v, const char *f, unsigned long l) : value(v), farewell(f), length(l) { __asm__ volatile("" ::: "memory"); }
    ~Static() {
        if (write(1, farewell, length) < 0) _exit(1);
    }
};
static Static first(20, "first.", 6);
static Static second(22, "second ", 7);
EXPORT int answer() { return first.value + second.value; }
