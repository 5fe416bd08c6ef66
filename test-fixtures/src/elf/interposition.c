// The first definition in breadth-first order wins for every object of the group, weak or not.
//# needs: interpose_first, interpose_second
//# rows: needs
extern int second_asks(void), interposed_pick(void), interposed_data;
int answer(void) { return second_asks() == interposed_pick() + interposed_data ? second_asks() + 1 : 1; }
