// DT_AUXILIARY: libfiltee.so may provide better definitions of its symbols.
//# ldflags: -Wl,-f,libfiltee.so
//# beside: filtee
//# answer: none
int filtered_value(void) { return 1; }
