// The other object with the same STB_GNU_UNIQUE variable.
//# patch: symbolic
//# answer: none
#include "gnu_unique.h"
extern "C" int peer_count() { return Counter<int>::count += 22; }
