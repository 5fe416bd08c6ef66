/* Calls a function that a resolver chooses. */
extern int chosen(void);

int answer(void) { return chosen(); }
