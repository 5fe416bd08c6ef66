// A dependency's dependency is nowhere: the error names both.
//# needs: missing_dependency
//# expect: error NotFound libsideload_absent.so libmissing_dependency.so
//# glibc: refuses
int top_answer(void) { return 42; }
