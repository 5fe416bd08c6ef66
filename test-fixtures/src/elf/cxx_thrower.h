// The exception class that cxx_thrower throws and others catch.
#pragma once
struct __attribute__((visibility("default"))) Problem {
    int value;
    explicit Problem(int v) : value(v) {}
    virtual ~Problem();
    virtual int number() const;
};
extern "C" void throw_problem(int value);
