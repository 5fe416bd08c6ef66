// A TLSDESC call leaves every register as it was but its result: at a thread's first call, which makes the block, and at
// later ones; the registers of integers, and all vectors that the processor has.
//
// The system loader is not asked: glibc before 2.40 loses vectors at the first call (its bug 31372).
//# cflags: -mtls-dialect=gnu2 -O1
//# rows: tls, tls:TLSDESC
//# glibc: skip
#include <pthread.h>
#include <stdint.h>
#include <string.h>
__thread int probed __attribute__((visibility("default"))) = 42;
static __thread volatile char large[9000]; // a mapping of its own

// What is in the registers before and after: 14 of integers (all but rax and rsp), 32 vectors of 64 bytes, 8 masks.
struct registers {
    uint64_t integers[14];
    uint8_t vectors[32][64];
    uint64_t masks[8];
};

// Loads all registers from `before`, calls, stores them to `after`, and returns the offset. Which vectors there are
// decides `level`: 0 for SSE, 1 for AVX, 2 for AVX-512.
__attribute__((visibility("hidden"))) int64_t call_with_all(struct registers *in, struct registers *out, int level);
__asm__(
    ".text\n.type call_with_all, @function\ncall_with_all:\n"
    "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "push %rsi\npush %rdx\n"
    "cmp $1, %edx\nje 11f\njg 12f\n"
    ".set i, 0\n.rept 16\n.altmacro\n.macro LOAD0 n\nmovups 112+64*\\n(%rdi), %xmm\\n\n.endm\nLOAD0 %i\n.purgem LOAD0\n.set i, i+1\n.endr\njmp 13f\n"
    "11:\n.set i, 0\n.rept 16\n.macro LOAD1 n\nvmovups 112+64*\\n(%rdi), %ymm\\n\n.endm\nLOAD1 %i\n.purgem LOAD1\n.set i, i+1\n.endr\njmp 13f\n"
    "12:\n.set i, 0\n.rept 32\n.macro LOAD2 n\nvmovups 112+64*\\n(%rdi), %zmm\\n\n.endm\nLOAD2 %i\n.purgem LOAD2\n.set i, i+1\n.endr\n"
    ".set i, 0\n.rept 8\n.macro LOADK n\nkmovw 2160+8*\\n(%rdi), %k\\n\n.endm\nLOADK %i\n.purgem LOADK\n.set i, i+1\n.endr\n"
    "13:\n"
    "mov 0(%rdi), %rbx\nmov 8(%rdi), %rcx\nmov 16(%rdi), %rdx\nmov 24(%rdi), %rsi\nmov 40(%rdi), %rbp\n"
    "mov 48(%rdi), %r8\nmov 56(%rdi), %r9\nmov 64(%rdi), %r10\nmov 72(%rdi), %r11\nmov 80(%rdi), %r12\n"
    "mov 88(%rdi), %r13\nmov 96(%rdi), %r14\nmov 104(%rdi), %r15\nmov 32(%rdi), %rdi\n"
    "sub $8, %rsp\n"
    "leaq probed@tlsdesc(%rip), %rax\ncall *probed@tlscall(%rax)\n"
    "add $8, %rsp\n"
    "xchg %rdi, 8(%rsp)\n" // out, and the value of rdi in its place
    "mov %rbx, 0(%rdi)\nmov %rcx, 8(%rdi)\nmov %rdx, 16(%rdi)\nmov %rsi, 24(%rdi)\nmov %rbp, 40(%rdi)\n"
    "mov %r8, 48(%rdi)\nmov %r9, 56(%rdi)\nmov %r10, 64(%rdi)\nmov %r11, 72(%rdi)\nmov %r12, 80(%rdi)\n"
    "mov %r13, 88(%rdi)\nmov %r14, 96(%rdi)\nmov %r15, 104(%rdi)\n"
    "mov 8(%rsp), %rcx\nmov %rcx, 32(%rdi)\n"
    "mov (%rsp), %edx\ncmp $1, %edx\nje 21f\njg 22f\n"
    ".set i, 0\n.rept 16\n.macro STORE0 n\nmovups %xmm\\n, 112+64*\\n(%rdi)\n.endm\nSTORE0 %i\n.purgem STORE0\n.set i, i+1\n.endr\njmp 23f\n"
    "21:\n.set i, 0\n.rept 16\n.macro STORE1 n\nvmovups %ymm\\n, 112+64*\\n(%rdi)\n.endm\nSTORE1 %i\n.purgem STORE1\n.set i, i+1\n.endr\njmp 23f\n"
    "22:\n.set i, 0\n.rept 32\n.macro STORE2 n\nvmovups %zmm\\n, 112+64*\\n(%rdi)\n.endm\nSTORE2 %i\n.purgem STORE2\n.set i, i+1\n.endr\n"
    ".set i, 0\n.rept 8\n.macro STOREK n\nkmovw %k\\n, 2160+8*\\n(%rdi)\n.endm\nSTOREK %i\n.purgem STOREK\n.set i, i+1\n.endr\n"
    "23:\n.noaltmacro\n"
    "pop %rdx\npop %rsi\npop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n"
    ".size call_with_all, .-call_with_all\n");

static int level(void) {
    if (__builtin_cpu_supports("avx512f")) return 2;
    return __builtin_cpu_supports("avx") ? 1 : 0;
}

static void *probe(void *unused) {
    (void)unused;
    static const size_t widths[] = {16, 32, 64};
    int which = level(), wrong = 0;
    struct registers in, out; // not thread-local: that would be the first call
    for (size_t i = 0; i < sizeof in; i++) ((uint8_t *)&in)[i] = (uint8_t)(i * 37 + 11);
    for (int i = 0; i < 8; i++) in.masks[i] &= 0xffff;
    for (int call = 0; call < 2; call++) {
        memset(&out, 0, sizeof out);
        int64_t offset = call_with_all(&in, &out, which);
        char *pointer;
        __asm__("mov %%fs:0, %0" : "=r"(pointer));
        wrong += *(int *)(pointer + offset) != 42;
        wrong += memcmp(in.integers, out.integers, sizeof in.integers) != 0;
        for (int i = 0; i < (which == 2 ? 32 : 16); i++)
            wrong += memcmp(in.vectors[i], out.vectors[i], widths[which]) != 0;
        if (which == 2) wrong += memcmp(in.masks, out.masks, sizeof in.masks) != 0;
    }
    return (void *)(long)wrong;
}

int answer(void) {
    pthread_t thread;
    void *wrong = (void *)1L;
    if (pthread_create(&thread, 0, probe, 0) || pthread_join(thread, &wrong)) return 1;
    large[8999] = 1;
    long here = (long)probe(0);
    return wrong == 0 && here == 0 ? probed : (int)(100 + (long)wrong + here);
}
