// A version of a counted function that a lookup by name alone does not find (`pthread_atfork@GLIBC_2.2.5`).
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
int old_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
__asm__(".symver old_atfork, pthread_atfork@GLIBC_2.2.5");
static int prepared;
static void prepare(void) { prepared++; }
static void child(void) { _exit(41); }
int answer(void) {
    int status;
    if (old_atfork(prepare, 0, child)) return 1;
    pid_t process = fork();
    if (process < 0 || waitpid(process, &status, 0) != process || !WIFEXITED(status)) return 2;
    return WEXITSTATUS(status) + prepared;
}
