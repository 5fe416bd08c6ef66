// A first dependency without the symbol, whose own dependency has it.
//# needs: breadth_deep
//# answer: none
extern int breadth_pick(void);
int breadth_near(void) { return breadth_pick(); }
