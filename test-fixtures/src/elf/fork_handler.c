// Handlers of fork, which the C library calls from then on.
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
static int prepared, returned;
static void prepare(void) { prepared++; }
static void parent(void) { returned++; }
static void child(void) { _exit(40); }
int answer(void) {
    int status;
    if (pthread_atfork(prepare, parent, child)) return 1;
    pid_t process = fork();
    if (process < 0 || waitpid(process, &status, 0) != process || !WIFEXITED(status)) return 2;
    return WEXITSTATUS(status) + prepared + returned;
}
