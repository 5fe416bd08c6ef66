// A handler that the image registers with atexit runs when the process exits.
//# at_exit: handler.
#include <stdlib.h>
#include <unistd.h>
static void handler(void) {
    if (write(1, "handler.", 8) != 8) _exit(1);
}
int answer(void) { return atexit(handler) == 0 ? 42 : 1; }
