// Defines the symbol that `breadth_first` looks for, two levels down.
//# answer: none
int breadth_pick(void) { return 7; }
