/* What resolver.c needs: a function that another one chooses when it is bound. No linker here makes such an export of one
 * image: an editor makes `chosen` one whose resolver is `choose`. */
static int better(void) { return 42; }
int chosen(void) { return 1; }
void *choose(void) { return (void *)better; }
