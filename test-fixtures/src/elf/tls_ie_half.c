// Half of 32 KiB of static TLS.
//# cflags: -ftls-model=initial-exec
//# answer: none
//# glibc: refuses
__thread char half_first = 20;
__thread char half[16 * 1024 - 2];
__thread char half_last = 1;
int half_sum(void) { return half_first + half[0] + half[sizeof half - 1] + half_last; }
