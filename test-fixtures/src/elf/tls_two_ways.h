// One variable under two names, by its offset from the thread pointer and in the way that the including fixture is compiled
// for, in two threads.
#include <pthread.h>
__thread int padding = 1;
__thread int other_way = 40;
extern __thread int by_offset __attribute__((alias("other_way"), tls_model("initial-exec")));
static void *check(void *unused) {
    (void)unused;
    int same = &other_way == &by_offset;
    by_offset += same;
    other_way += same;
    int sum = other_way;
    other_way -= 2 * same;
    return (void *)(long)sum;
}
int answer(void) {
    pthread_t thread;
    void *other = 0;
    if (pthread_create(&thread, 0, check, 0) || pthread_join(thread, &other)) return 1;
    return other == (void *)42L ? (int)(long)check(0) : 2;
}
