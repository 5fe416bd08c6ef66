// A handler of on_exit, which the C library calls at the end of the process and never takes back.
#define _DEFAULT_SOURCE
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static int argument = 40;
static void handler(int status, void *given) { _exit(status + *(int *)given); }
static void other(int status, void *given) {}
int answer(void) {
    int status;
    pid_t process = fork();
    if (process == 0) {
        if (on_exit(handler, &argument)) _exit(1);
        exit(1);
    }
    if (process < 0 || waitpid(process, &status, 0) != process || !WIFEXITED(status)) return 2;
    return on_exit(other, 0) ? 3 : WEXITSTATUS(status) + 1;
}
