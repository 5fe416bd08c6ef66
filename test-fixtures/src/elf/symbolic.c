// -Bsymbolic: function and data bound inside the object at link time, whatever the scope says.
//# cflags: -nostartfiles -fno-builtin
//# ldflags: -Wl,-Bsymbolic
//# needs: interpose_first
//# rows: rebase
#include "fixture.h"
int interposed_pick(void) { return 12; }
int interposed_data = 30;
static int (*volatile pick)(void) = interposed_pick;
static int *volatile data = &interposed_data;
int answer(void) { return relocated((void *)pick) && relocated(data) ? pick() + *data : 1; }
