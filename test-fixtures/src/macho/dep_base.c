/* What dep.c and reexport.c need. */
int dep_inits;
__attribute__((constructor)) static void init(void) { dep_inits = 10; }
int dep_value(void) { return dep_inits; }
int dep_data = 7;
int dep_optional(void) { return 5; }
