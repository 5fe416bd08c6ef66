// Initial-exec variables with an alignment of 64, in .tdata and .tbss, in the first and in a later thread.
//# cflags: -ftls-model=initial-exec
//# rows: tls, tls:TPOFF64
#define LARGEST 64
#include "tls_align.h"
