// A reference to an old version (@) beside one to the default version (@@) of the same name.
//# needs: versioned
//# rows: version
#include "fixture.h"
__asm__(".symver value_old, versioned_value@VERSIONED_1");
int value_old(void);
int versioned_value(void);
int answer(void) { return value_old() + versioned_value(); }
