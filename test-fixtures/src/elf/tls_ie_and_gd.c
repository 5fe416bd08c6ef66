// One variable by two models in one object: by its offset (TPOFF64) and by its module id (DTPMOD64) it is the same.
//# cflags: -ftls-model=global-dynamic
//# rows: tls, tls:TPOFF64, tls:DTPMOD64
#include "tls_two_ways.h"
