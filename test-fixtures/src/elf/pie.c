// A position-independent executable (DF_1_PIE): refused, though its file type is ET_DYN.
//# cflags: -fPIE
//# ldflags: -pie -rdynamic
//# expect: error Refused DF_1_PIE
//# glibc: refuses
int answer(void) { return 42; }
int main(void) { return 0; }
