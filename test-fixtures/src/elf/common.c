// COMMON symbols (-fcommon): allocated by the linker, exported with their size, zero at the start.
//# cflags: -fcommon
//# rows: bind:GLOB_DAT
#include "fixture.h"
int common_counter;
long common_array[700];
int answer(void) {
    int *counter = (int *)opaque(&common_counter);
    if (!relocated(counter) || !relocated(common_array)) return 1;
    *counter += 42;
    return common_counter + (int)common_array[699];
}
