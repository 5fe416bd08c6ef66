// Aligned variables in .tdata and .tbss, checked in two threads: included by a fixture of each model, which says how large
// the larger alignment is (LARGEST).
#include "fixture.h"
#include <pthread.h>
static __thread volatile char before = 1;
static __thread __attribute__((aligned(64))) volatile int in_data = 21;
static __thread __attribute__((aligned(LARGEST))) volatile int in_bss;
static void *check(void *unused) {
    (void)unused;
    int aligned = (uintptr_t)opaque((void *)&in_data) % 64 == 0 && (uintptr_t)opaque((void *)&in_bss) % LARGEST == 0;
    return (void *)(long)(aligned && before == 1 ? in_data + in_bss : 100);
}
int answer(void) {
    pthread_t thread;
    void *other = 0;
    if (pthread_create(&thread, 0, check, 0) || pthread_join(thread, &other)) return 1;
    return (int)(long)other + (int)(long)check(0);
}
