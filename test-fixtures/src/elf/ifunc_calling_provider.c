// Exports an IFUNC whose resolver calls another object's function.
//# needs: provider
//# answer: none
extern int provided_function(void);
static int right(void) { return 42; }
static int wrong(void) { return 1; }
static int (*choose(void))(void) { return provided_function() == 12 ? right : wrong; }
int calling_ifunc(void) __attribute__((ifunc("choose")));
