// PT_DYNAMIC whose p_offset is wrong: what counts is its address, where the image itself has the section.
//# needs: provider
//# patch: dynamic_offset
#include "fixture.h"
extern int provided_value;
int answer(void) { return relocated(opaque(&provided_value)) ? provided_value + 12 : 1; }
