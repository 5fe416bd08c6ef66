// The provider lacks a version that this object was linked against.
//# needs: versioned
//# replace: versioned by versioned_old
//# expect: error MissingVersions VERSIONED_2
//# glibc: refuses
int versioned_value(void);
int answer(void) { return versioned_value() + 12; }
