// The host's thread-local by TPOFF64: libc's `errno`, as libm and libresolv use it.
//
// Sets it by the initial-exec relocation and reads it back through __errno_location.
//# ldflags: -lc
//# rows: tls:TPOFF64
    .text
    .globl answer
    .type answer, @function
answer:
    movq errno@gottpoff(%rip), %rax
    testq %rax, %rax
    jz 1f
    movl $42, %fs:(%rax)
    subq $8, %rsp
    call __errno_location@PLT
    addq $8, %rsp
    movl (%rax), %eax
    ret
1:  movl $1, %eax
    ret
    .size answer, .-answer
    .section .note.GNU-stack,"",@progbits
