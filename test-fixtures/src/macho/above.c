/* What below.c needs upwards: it needs below.c itself, and is initialised after it. */
extern int below_inits;
int above_saw;
__attribute__((constructor)) static void init(void) { above_saw = below_inits; }
int above_value(void) { return above_saw; }
