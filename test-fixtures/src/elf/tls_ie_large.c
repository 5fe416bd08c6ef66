// Two objects that together want 32 KiB of static TLS: more than the system loader has to spare.
//# cflags: -ftls-model=initial-exec
//# needs: tls_ie_half
//# rows: tls, tls:TPOFF64
//# glibc: refuses
#include <pthread.h>
int half_sum(void);
static __thread volatile char first = 20;
static __thread volatile char large[16 * 1024 - 2];
static __thread volatile char last = 1;
static void *sum(void *unused) {
    (void)unused;
    return (void *)(long)(half_sum() + first + large[0] + large[sizeof large - 1] + last);
}
int answer(void) {
    pthread_t thread;
    void *other = 0;
    if (pthread_create(&thread, 0, sum, 0) || pthread_join(thread, &other)) return 1;
    return other == (void *)42L ? (int)(long)sum(0) : 2;
}
