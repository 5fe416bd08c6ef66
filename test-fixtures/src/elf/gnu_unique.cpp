// STB_GNU_UNIQUE: one definition per process, even between objects that look at themselves first.
//
// Both objects are DF_SYMBOLIC; without uniqueness each would count in its own variable.
//# needs: gnu_unique_peer
//# patch: symbolic
#include "fixture.h"
#include "gnu_unique.h"
extern "C" int peer_count();
EXPORT int answer() {
    Counter<int>::count += 20;
    return peer_count() == 42 && opaque(&Counter<int>::count) ? Counter<int>::count : 1;
}
