// Shared by the fixtures. Everything here is `static`, so that a fixture gains no symbol from it.
#ifndef FIXTURE_H
#define FIXTURE_H
#include <stdint.h>

#ifdef __cplusplus
#define EXPORT extern "C" __attribute__((visibility("default")))
#else
#define EXPORT __attribute__((visibility("default")))
#endif

// Keeps the compiler from reasoning about a value: what is tested is the loader's work, not the optimiser's.
static inline const void *opaque(const void *value) {
    __asm__ volatile("" : "+r"(value));
    return value;
}

// Whether a pointer was relocated. A slot that the loader forgot holds zero or a link-time address, and the
// kernel maps nothing of ours that low; telling the two apart turns a crash into a wrong answer.
static inline int relocated(const void *pointer) {
    return (uintptr_t)opaque(pointer) >= 0x10000000u;
}

// Says whether the nth jump slot of this object was filled, and so whether a call through it is safe.
// (psABI: .got.plt starts with three reserved words. The linker puts local IFUNCs behind imported functions.)
__attribute__((visibility("hidden"))) extern void *_GLOBAL_OFFSET_TABLE_[];
static inline int jump_slot_filled(int nth) {
    return relocated(((void *volatile *)_GLOBAL_OFFSET_TABLE_)[3 + nth]);
}

#endif
