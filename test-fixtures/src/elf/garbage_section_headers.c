// The section header table is garbage, and its place lies outside the file: never looked at.
//# needs: provider
//# patch: garbage_section_headers
//# rows: bind:GLOB_DAT
#include "fixture.h"
extern int provided_value;
int answer(void) { return relocated(opaque(&provided_value)) ? provided_value + 12 : 1; }
