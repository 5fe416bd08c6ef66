// TLS blocks with an alignment of 64 and of 4096, in .tdata and .tbss, in the first and in a later thread.
//# rows: tls
#define LARGEST 4096
#include "tls_align.h"
