// A plugin: a function, a variable, and a count of how often it was initialised.
//# rows: init_array
int plugin_initialised;
int plugin_variable = 41;
const char plugin_name[] = "plugin";
int plugin_add(int a, int b) { return a + b; }
static __attribute__((constructor)) void start(void) { plugin_initialised++; }
int answer(void) { return plugin_add(plugin_variable, plugin_initialised); }
