// An init_array entry that is another object's function: legal, and bound by R_X86_64_64.
//# needs: init_callee
//# rows: bind:64, init_array
#include "fixture.h"
#include "../../../crates/plugin/include/sideload_plugin.h"
SIDELOAD_PLUGIN("init_imported", "1.0.0");
extern void callee_init(void);
extern int callee_runs(void);
__attribute__((section(".init_array"), used)) static void (*entry)(void) = callee_init;
int answer(void) { return callee_runs() == 1 ? 42 : callee_runs(); }
