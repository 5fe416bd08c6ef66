// One variable by two models in one object: by its offset (TPOFF64) and by its module id (DTPMOD64) it is the same.
//# cflags: -ftls-model=global-dynamic
//# rows: tls, tls:TPOFF64, tls:DTPMOD64
#include <pthread.h>
__thread int padding = 1;
__thread int by_id = 40;
extern __thread int by_offset __attribute__((alias("by_id"), tls_model("initial-exec")));
static void *check(void *unused) {
    (void)unused;
    int same = &by_id == &by_offset;
    by_offset += same;
    by_id += same;
    int sum = by_id;
    by_id -= 2 * same;
    return (void *)(long)sum;
}
int answer(void) {
    pthread_t thread;
    void *other = 0;
    if (pthread_create(&thread, 0, check, 0) || pthread_join(thread, &other)) return 1;
    return other == (void *)42L ? (int)(long)check(0) : 2;
}
