// Throws an exception of a class that its caller catches.
//# answer: none
#include "cxx_thrower.h"
Problem::~Problem() {}
int Problem::number() const { return value; }
extern "C" void throw_problem(int value) { throw Problem(value); }
