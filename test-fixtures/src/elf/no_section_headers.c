// e_shoff and e_shnum are zero: section headers are never needed.
//# needs: provider
//# patch: no_section_headers
//# rows: bind:GLOB_DAT
#include "fixture.h"
extern int provided_value;
int answer(void) { return relocated(opaque(&provided_value)) ? provided_value + 12 : 1; }
