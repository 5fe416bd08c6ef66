// Initial-exec access to a thread-local of a dependency, whose own code asks for it by its module id: both get the
// same variable, so the dependency's block is in the static TLS, too.
//# cflags: -ftls-model=initial-exec
//# needs: tls_provider
//# rows: tls:TPOFF64
#include <pthread.h>
extern __thread int shared_local;
extern int *shared_local_address(void);
static __thread volatile int own = 2;
static void *check(void *unused) {
    (void)unused;
    return (void *)(long)(shared_local_address() == &shared_local ? shared_local + own : 1);
}
int answer(void) {
    pthread_t thread;
    void *other = 0;
    if (pthread_create(&thread, 0, check, 0) || pthread_join(thread, &other)) return 1;
    return other == (void *)42L ? (int)(long)check(0) : 2;
}
