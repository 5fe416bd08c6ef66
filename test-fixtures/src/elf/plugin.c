// A plugin: a function, a variable, and a count of how often it was initialised.
//# rows: init_array
#include "../../../crates/plugin/include/sideload_plugin.h"
SIDELOAD_PLUGIN("plugin", "1.0.0");
SIDELOAD_EXPORT(plugin_initialised, "AtomicI32");
SIDELOAD_EXPORT(plugin_variable, "AtomicI32");
SIDELOAD_EXPORT(plugin_add, "fn(i32, i32) -> i32");
SIDELOAD_EXPORT(answer, "fn() -> i32");
int plugin_initialised;
int plugin_variable = 41;
const char plugin_name[] = "plugin";
int plugin_add(int a, int b) { return a + b; }
static __attribute__((constructor)) void start(void) { plugin_initialised++; }
int answer(void) { return plugin_add(plugin_variable, plugin_initialised); }
