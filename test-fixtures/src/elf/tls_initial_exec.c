// Initial-exec TLS of a loaded object (TPOFF64): needs room in the static TLS of every thread.
//# cflags: -ftls-model=initial-exec
//# rows: tls, tls:TPOFF64
__thread int ie_initialised = 30;
static __thread volatile int zero;
int answer(void) {
    zero += 12;
    int sum = ie_initialised + zero;
    zero = 0;
    return sum;
}
