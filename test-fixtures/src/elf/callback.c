// Calls back what it is given, through a function that it does not export.
//# cflags: -g
static int thirty = 30;
static int one(void) { return 1; }
__attribute__((noinline, noclone)) static int hidden_caller(int (*function)(void)) {
    int value = function();
    __asm__ volatile("" ::: "memory"); // no tail call: its frame is on the stack while `function` runs
    return value * 10;
}
int call_back(int (*function)(void)) {
    int value = hidden_caller(function);
    __asm__ volatile("" ::: "memory");
    return value + 2;
}
int answer(void) { return call_back(one) + thirty; }
