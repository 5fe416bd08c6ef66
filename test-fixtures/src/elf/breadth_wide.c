// A second dependency that defines the symbol, one level down.
//# answer: none
int breadth_pick(void) { return 21; }
