/* A plugin, whose rows are read from the file: a function, a variable, and a count of how often it was initialised. */
#include "../../../crates/plugin/include/sideload_plugin.h"
SIDELOAD_PLUGIN("plugin", "1.0.0");
SIDELOAD_EXPORT(plugin_variable, "AtomicI32");
SIDELOAD_EXPORT(plugin_add, "fn(i32, i32) -> i32");
SIDELOAD_EXPORT(answer, "fn() -> i32");
int plugin_variable = 40;
int plugin_add(int a, int b) { return a + b; }
static __attribute__((constructor)) void start(void) { plugin_variable += 2; }
int answer(void) { return plugin_add(plugin_variable, 0); }
