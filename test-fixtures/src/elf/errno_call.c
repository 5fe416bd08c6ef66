// errno set by a failing system call of the host's libc and read here, in two threads.
//# rows: bind:JUMP_SLOT
#include <errno.h>
#include <pthread.h>
#include <unistd.h>
static void *fail(void *unused) {
    (void)unused;
    errno = 0;
    close(-1);
    return (void *)(long)(errno == EBADF ? 20 : 1);
}
int answer(void) {
    pthread_t thread;
    void *other = 0;
    errno = 2;
    if (pthread_create(&thread, 0, fail, 0) || pthread_join(thread, &other)) return 1;
    return (int)(long)other + errno + (int)(long)fail(0);
}
