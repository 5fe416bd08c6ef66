/* A need that is missing, and may be: what would come from it is null. */
extern int umbrella_own(void) __attribute__((weak_import));

int answer(void) { return umbrella_own ? 0 : 42; }
