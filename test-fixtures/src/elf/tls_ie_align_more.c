// Initial-exec variables with an alignment of 256: more than a thread pointer has, unless the program started with such.
//# cflags: -ftls-model=initial-exec
//# expect: error StaticTls 256
//# glibc: refuses
#define LARGEST 256
#include "tls_align.h"
