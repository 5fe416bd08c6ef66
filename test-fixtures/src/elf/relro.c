// RELRO is sealed before the first initialiser: its pages cannot be written any more.
//
// The kernel is asked to write (read(2) into the page), so that a sealed page gives EFAULT and not a signal.
//# ldflags: -Wl,-z,relro -Wl,-z,now
//# rows: seal
#include "fixture.h"
#include <unistd.h>
// Not volatile: the compiler would put that with the writable data.
static const int value = 21;
static const int *const sealed = &value;
static int writable_at_start = 1;
static int writable(void *place) {
    int pipe_ends[2];
    char byte = *(volatile char *)place;
    if (pipe(pipe_ends) || write(pipe_ends[1], &byte, 1) != 1) return 1;
    int stored = read(pipe_ends[0], place, 1) == 1;
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    return stored;
}
static __attribute__((constructor)) void start(void) { writable_at_start = writable((void *)&sealed); }
int answer(void) {
    if (writable_at_start || writable((void *)&sealed)) return 1;
    if (!relocated(*(const int *const *)opaque(&sealed))) return 1;
    return **(const int *const *)opaque(&sealed) * 2;
}
