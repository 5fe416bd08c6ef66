// The farther definition of `interposed_pick`; its own calls go through its PLT and reach the nearer one.
//# answer: none
int interposed_pick(void) { return 7; }
int interposed_data = 9;
int second_asks(void) { return interposed_pick() + interposed_data; }
