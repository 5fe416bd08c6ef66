// Local-dynamic TLS: one DTPMOD64 without a symbol serves all the object's local variables.
//# cflags: -ftls-model=local-dynamic
//# rows: tls, tls:DTPMOD64
static __thread volatile int initialised = 30;
static __thread volatile int zero[100];
int answer(void) {
    zero[99] += 12;
    int sum = initialised + zero[99] + zero[0];
    zero[99] = 0;
    return sum;
}
