// A reference to the default version (@@).
//# needs: versioned
//# rows: version
int versioned_value(void);
int answer(void) { return versioned_value() + 12; }
