// A function that others name as their initialiser.
//# answer: none
static int runs;
void callee_init(void) { runs++; }
int callee_runs(void) { return runs; }
