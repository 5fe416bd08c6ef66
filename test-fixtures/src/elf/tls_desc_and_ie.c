// One variable by a descriptor and by its offset (initial-exec): the block is in the static TLS, and both lead there.
//# cflags: -mtls-dialect=gnu2 -ftls-model=global-dynamic
//# rows: tls, tls:TPOFF64, tls:TLSDESC
#include "tls_two_ways.h"
