// A consumer of a DT_FILTER object: the filtee's definition is used.
//# needs: filter_stub
//# beside: filtee
extern int filtered_value(void);
int answer(void) { return filtered_value() + 12; }
