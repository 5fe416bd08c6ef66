// An inline static of a template, which g++ emits as STB_GNU_UNIQUE.
#pragma once
template <typename T> struct Counter {
    static inline int count = 0;
};
