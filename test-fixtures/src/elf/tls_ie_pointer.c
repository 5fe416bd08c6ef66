// A relocated pointer inside the image of an initial-exec object: copied to every thread after relocation, not before.
//# cflags: -ftls-model=initial-exec -nostartfiles
//# rows: rebase, tls, tls:TPOFF64
#include "tls_pointer.h"
