// The base class of the cxx_rtti fixtures.
#pragma once
struct __attribute__((visibility("default"))) Base {
    virtual ~Base();
    virtual int value() const;
};
Base *make_base();
