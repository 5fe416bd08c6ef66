// R_X86_64_GLOB_DAT: the address of another object's variable.
//# needs: provider
//# rows: bind:GLOB_DAT
#include "fixture.h"
extern int provided_value;
int answer(void) {
    const int *address = opaque(&provided_value);
    return relocated(address) ? *address + 12 : 1;
}
