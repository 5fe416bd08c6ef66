// TLSDESC (-mtls-dialect=gnu2): a descriptor call that must preserve every register but its result.
//# cflags: -mtls-dialect=gnu2
//# rows: tls, tls:TLSDESC
__thread int desc_initialised = 20;
static __thread volatile int zero;
int answer(void) {
    double kept = 10.0;
    long integer = 7;
    // Values that live in registers across the descriptor call, a vector one among them.
    __asm__ volatile("" : "+x"(kept), "+r"(integer));
    zero = 5;
    int sum = desc_initialised + zero;
    __asm__ volatile("" : "+x"(kept), "+r"(integer));
    return sum + (int)kept + (int)integer;
}
