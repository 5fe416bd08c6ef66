// Each of several threads, before and after the load or at the same time, has its own copy.
//# rows: tls
#include <pthread.h>
static __thread int local = 5;
static pthread_barrier_t all_started;
static void *work(void *argument) {
    local += (int)(long)argument;
    // No thread goes on before all have written: a shared copy would show.
    pthread_barrier_wait(&all_started);
    return (void *)(long)(local - (int)(long)argument);
}
int answer(void) {
    pthread_t threads[7];
    int sum = 0;
    if (pthread_barrier_init(&all_started, 0, 7)) return 1;
    for (long i = 0; i < 7; i++)
        if (pthread_create(&threads[i], 0, work, (void *)(i + 1))) return 2;
    for (int i = 0; i < 7; i++) {
        void *seen = 0;
        if (pthread_join(threads[i], &seen)) return 3;
        sum += (int)(long)seen;
    }
    pthread_barrier_destroy(&all_started);
    return sum + local + 2;
}
