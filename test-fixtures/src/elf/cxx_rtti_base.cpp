// Classes with their vtables and type information, for another object to derive from.
//# answer: none
#include "cxx_rtti_base.h"
Base::~Base() {}
int Base::value() const { return 1; }
Base *make_base() { return new Base; }
