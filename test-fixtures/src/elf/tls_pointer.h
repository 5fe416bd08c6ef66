// A relocated pointer in the TLS image, read in two threads: included by a fixture of each model.
#include "fixture.h"
#include <pthread.h>
static int target = 21;
static __thread int *volatile pointer = &target;
static void *read_it(void *unused) {
    (void)unused;
    return (void *)(long)(relocated(pointer) ? *pointer : 1);
}
int answer(void) {
    pthread_t thread;
    void *other = 0;
    if (pthread_create(&thread, 0, read_it, 0) || pthread_join(thread, &other)) return 1;
    return (int)(long)other + (int)(long)read_it(0);
}
