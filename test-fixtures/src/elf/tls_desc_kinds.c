// Descriptors of each kind: of the object's own variable, of one of a dependency, of one of libc's, whose place is known,
// and of one that nobody defines, whose address is null.
//# cflags: -mtls-dialect=gnu2
//# ldflags: -lc
//# needs: tls_provider
//# rows: tls, tls:TLSDESC
#include <errno.h>
#include <pthread.h>
#undef errno
extern __thread int shared_local;
extern int *shared_local_address(void);
extern __thread int errno;
extern __thread int nobody_defines_this __attribute__((weak));
static __thread volatile int own = 1;
static void *check(void *unused) {
    (void)unused;
    errno = 5;
    int sum = shared_local + own; // 41
    sum += *__errno_location() == 5 && &errno == __errno_location();
    sum += &nobody_defines_this != 0;
    sum += shared_local_address() != &shared_local;
    return (void *)(long)sum;
}
int answer(void) {
    pthread_t thread;
    void *other = 0;
    if (pthread_create(&thread, 0, check, 0) || pthread_join(thread, &other)) return 1;
    return other == (void *)42L ? (int)(long)check(0) : 2;
}
