// More static TLS than anybody has: 4 MiB in each thread. The error says how much there is.
//# cflags: -ftls-model=initial-exec
//# expect: error StaticTls 4194304 65536
//# glibc: refuses
static __thread volatile char large[4 << 20];
int answer(void) { return large[1]; }
