// A relocated pointer inside the TLS image: relocations are applied before any thread copies it.
//# cflags: -nostartfiles
//# rows: rebase, tls
#include "tls_pointer.h"
