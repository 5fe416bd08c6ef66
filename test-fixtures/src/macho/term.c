/* Speaks when it is called: as an initialiser, or, once an editor has made its section one of terminators, at the end. */
extern int puts(const char *);
static int called;
__attribute__((constructor)) static void speak(void) {
  called = 1;
  puts("term.c: terminated");
}

int answer(void) { return called ? 0 : 42; }
