// A DTPMOD64 whose symbol is a section, as old linkers wrote it: it stands for the object's own block.
//# cflags: -ftls-model=local-dynamic
//# patch: tls_section_symbol
//# rows: tls, tls:DTPMOD64
int section;
static __thread volatile int initialised = 30;
static __thread volatile int zero[100];
int answer(void) {
    zero[99] += 12;
    int sum = initialised + zero[99] + zero[0];
    zero[99] = 0;
    return sum;
}
