/* A plugin in C: cc -shared -fPIC -I crates/plugin/include -o libhexagon.so examples/plugins/hexagon/hexagon.c */
#include "sideload_plugin.h"

SIDELOAD_PLUGIN("hexagon", "1.0.0");
SIDELOAD_EXPORT(area, "fn(f64) -> f64");

double area(double side) { return 2.598076211353316 * side * side; }
