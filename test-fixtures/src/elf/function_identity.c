// One function has one address, by every form of relocation and from every object.
//# needs: identity_peer, provider
//# rows: bind:GLOB_DAT, bind:64
#include "fixture.h"
extern int provided_function(void), (*identity_seen(void))(void);
static int (*volatile by_64)(void) = provided_function;
int answer(void) {
    const void *by_got = opaque((void *)provided_function);
    if (!relocated(by_got) || by_got != (void *)by_64 || by_got != (void *)identity_seen()) return 1;
    return by_64() + 30;
}
