// Virtual calls and dynamic_cast across two objects: vtables and type information bound by symbol.
//# needs: cxx_rtti_base
//# rows: bind:64
#include "cxx_rtti_base.h"
#include "fixture.h"
struct Derived : Base {
    int value() const override { return 41; }
};
EXPORT int answer() {
    Base *plain = make_base();
    Base *derived = new Derived;
    int sum = 0;
    if (!dynamic_cast<Derived *>(plain)) sum += plain->value();
    if (dynamic_cast<Derived *>(derived)) sum += derived->value();
    delete plain;
    delete derived;
    return sum;
}
