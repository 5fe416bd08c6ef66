// DT_FILTER: its symbols are provided by libfiltee.so, its own definitions are place-holders.
//# ldflags: -Wl,-F,libfiltee.so
//# beside: filtee
//# answer: none
int filtered_value(void) { return 1; }
