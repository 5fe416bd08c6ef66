// Data of the host: `environ` and `stdout`, which may live in the executable as copy relocations.
//# rows: bind:GLOB_DAT
#include "fixture.h"
#include <stdio.h>
extern char **environ;
int answer(void) {
    if (!relocated(opaque(&environ)) || !relocated(opaque(&stdout))) return 1;
    return environ && stdout && fileno(stdout) == 1 ? 42 : 2;
}
