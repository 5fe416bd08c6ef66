// Two versions of one symbol, the old hidden one (@) and the default one (@@).
//# ldflags: -Wl,--version-script={src}/versioned.map
#include "fixture.h"
__asm__(".symver value_old, versioned_value@VERSIONED_1");
__asm__(".symver value_new, versioned_value@@VERSIONED_2");
EXPORT int value_old(void) { return 12; }
EXPORT int value_new(void) { return 30; }
EXPORT int answer(void) { return value_old() + value_new(); }
