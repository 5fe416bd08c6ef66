// Found only where the search path of another object says.
//# answer: none
int path_leaf(void) { return 12; }
