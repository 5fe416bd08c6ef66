// Functions for breakpoints: one in an initialiser, one below `answer`.
//# cflags: -g
static int state;
__attribute__((noinline, noclone)) int debuggee_function(int value) {
    __asm__ volatile("" ::: "memory");
    return value + state;
}
__attribute__((constructor)) static void debuggee_constructor(void) { state = 40; }
int answer(void) {
    int value = debuggee_function(2);
    __asm__ volatile("" ::: "memory"); // no tail call: a backtrace shows both
    return value;
}
