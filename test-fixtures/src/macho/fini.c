/* A terminator, which the compiler registers with __cxa_atexit, says a word when the process ends. */
extern int puts(const char *);
__attribute__((destructor)) static void end(void) { puts("fini.c: terminated"); }

int answer(void) { return 42; }
