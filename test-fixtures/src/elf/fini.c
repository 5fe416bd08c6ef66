// Finalisers run at process exit: DT_FINI_ARRAY first, then DT_FINI.
//# cflags: -nostartfiles
//# ldflags: -Wl,-fini=finish
//# at_exit: array, fini.
#include <unistd.h>
static __attribute__((destructor)) void array(void) {
    if (write(1, "array, ", 7) != 7) _exit(1);
}
void finish(void) {
    if (write(1, "fini.", 5) != 5) _exit(1);
}
int answer(void) { return 42; }
