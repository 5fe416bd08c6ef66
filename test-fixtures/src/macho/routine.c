/* The routine of LC_ROUTINES_64 runs before the initialisers, with all arguments. No linker here writes the command: an
 * editor adds it. */
static volatile int seen;
void routine(int argc, const char **argv, const char **envp, const char **apple, const void *vars) {
  seen = seen == 0 && argc > 0 && argv[0] && envp && apple && vars ? 20 : 0;
}
__attribute__((constructor)) static void init(void) { seen = seen == 20 ? 42 : 1; }

int answer(void) { return seen; }
