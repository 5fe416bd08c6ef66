// A consumer of a DT_AUXILIARY object: the better definition is used.
//# needs: auxiliary_stub
//# beside: filtee
extern int filtered_value(void);
int answer(void) { return filtered_value() + 12; }
