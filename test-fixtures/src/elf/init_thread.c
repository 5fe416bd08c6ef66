// An initialiser starts a thread, which uses the object's data and thread-locals, and waits for it.
//# rows: init_array
#include <pthread.h>
static int state = 1;
static __thread int local = 40;
static void *work(void *argument) {
    local += 2;
    *(int *)argument = local;
    return 0;
}
static __attribute__((constructor)) void start(void) {
    pthread_t thread;
    int seen = 0;
    if (pthread_create(&thread, 0, work, &seen) || pthread_join(thread, 0)) return;
    state = seen + (local - 40);
}
int answer(void) { return state; }
