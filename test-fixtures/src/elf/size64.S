// R_X86_64_SIZE64: the size of a symbol, not its address.
//# rows: bind:SIZE64
    .data
    .globl sized
    .type sized, @object
sized:
    .skip 40
    .size sized, 40
    .p2align 3
by_64:
    .quad sized@SIZE + 2
    .text
    .globl answer
    .type answer, @function
answer:
    movl by_64(%rip), %eax
    ret
    .size answer, .-answer
    .section .note.GNU-stack,"",@progbits
