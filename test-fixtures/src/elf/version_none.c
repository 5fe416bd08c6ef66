// A relocation without a version against a provider that has since gained versions.
//
// Such a consumer was linked before the versions existed, so it gets the oldest one, as in glibc (dl-lookup.c,
// check_match); only a lookup by name (dlsym) gets the default one.
//# needs: unversioned
//# replace: unversioned by versioned
int versioned_value(void);
int answer(void) { return versioned_value() + 30; }
