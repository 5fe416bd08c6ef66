/* Initialisers run once, in order, with five arguments; the last two are null-terminated lists and a pointer to more. */
static int order;
static int seen;
__attribute__((constructor)) static void one(int argc, const char **argv, const char **envp, const char **apple, const void *vars) {
  seen += order++ == 0 ? 10 : 1000;
  seen += argc > 0 && argv[0] && !argv[argc] ? 5 : 0;
  seen += envp && apple ? 5 : 0;
  seen += vars ? 2 : 0;
}
__attribute__((constructor)) static void two(void) { seen += order++ == 1 ? 20 : 1000; }

int answer(void) { return seen; }
