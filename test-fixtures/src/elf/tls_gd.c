// General-dynamic TLS: an exported variable, by DTPMOD64 and DTPOFF64 pairs, initialised and zeroed parts.
//# cflags: -ftls-model=global-dynamic
//# rows: tls, tls:DTPMOD64, tls:DTPOFF64
__thread int gd_padding = 1;
__thread int gd_initialised = 30;
__thread int gd_zero;
int answer(void) {
    gd_zero += 12;
    int sum = gd_initialised + gd_zero;
    gd_zero = 0;
    return sum;
}
