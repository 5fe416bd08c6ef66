// Opened beside others with TLS: a block larger than a page, touched at both ends in two threads.
//# rows: tls
#include <pthread.h>
static __thread volatile int first = 20;
static __thread volatile char large[100000];
static __thread volatile int last = 1;
static void *touch(void *unused) {
    (void)unused;
    large[0] = large[99999] = 1;
    return (void *)(long)(first + last + large[50000]);
}
int answer(void) {
    pthread_t thread;
    void *other = 0;
    if (pthread_create(&thread, 0, touch, 0) || pthread_join(thread, &other)) return 1;
    return (int)(long)other + (int)(long)touch(0);
}
