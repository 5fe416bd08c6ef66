// A C function between a throw and its catch, built with -fexceptions so that it can be unwound.
//# cflags: -fexceptions
//# answer: none
#include "fixture.h"
int through_c(void (*callback)(int), int value) {
    volatile int kept = value;
    callback(kept);
    return kept;
}
