// The implementation behind the filter fixtures.
//# answer: none
int filtered_value(void) { return 30; }
