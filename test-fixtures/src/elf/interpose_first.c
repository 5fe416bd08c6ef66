// The nearer of two definitions of `interposed_pick`, and weak on purpose: order counts, strength does not.
//# answer: none
__attribute__((weak)) int interposed_pick(void) { return 40; }
int interposed_data = 1;
