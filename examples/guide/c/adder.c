/* cc -shared -fPIC -I crates/plugin/include -o libadder.so adder.c */
#include "sideload_plugin.h"

SIDELOAD_PLUGIN("adder", "1.0.0");
SIDELOAD_EXPORT(add, "fn(i32, i32) -> i32");

int add(int one, int other) { return one + other; }
