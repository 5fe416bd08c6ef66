// One variable by a descriptor and by its offset (initial-exec): the block is in the static TLS, and both lead there.
//# cflags: -mtls-dialect=gnu2 -ftls-model=global-dynamic
//# rows: tls, tls:TPOFF64, tls:TLSDESC
#include <pthread.h>
__thread int padding = 1;
__thread int described = 40;
extern __thread int by_offset __attribute__((alias("described"), tls_model("initial-exec")));
static void *check(void *unused) {
    (void)unused;
    int same = &described == &by_offset;
    by_offset += same;
    described += same;
    int sum = described;
    described -= 2 * same;
    return (void *)(long)sum;
}
int answer(void) {
    pthread_t thread;
    void *other = 0;
    if (pthread_create(&thread, 0, check, 0) || pthread_join(thread, &other)) return 1;
    return other == (void *)42L ? (int)(long)check(0) : 2;
}
