// Hidden symbols of one name in two objects stay apart.
//# cflags: -nostartfiles
//# needs: visibility_peer
//# rows: rebase
#include "fixture.h"
extern int peer_value(void);
__attribute__((visibility("hidden"))) int same_name = 30;
static int *volatile pointer = &same_name;
int answer(void) { return relocated(pointer) ? *pointer + peer_value() : 1; }
