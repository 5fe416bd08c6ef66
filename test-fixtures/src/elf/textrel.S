// DT_TEXTREL: relocations inside the code. Refused by default; a policy that allows it gets the answer.
//# ldflags: -Wl,-z,notext
//# rows: bind:64
//# answer: 42
//# expect: error Refused DT_TEXTREL
    .data
    .globl text_target
text_target:
    .long 42
    .text
    .globl answer
    .type answer, @function
answer:
    movabsq $text_target, %rax
    cmpq $0x10000000, %rax
    jb 1f
    movl (%rax), %eax
    ret
1:  movl $1, %eax
    ret
    .size answer, .-answer
    .section .note.GNU-stack,"",@progbits
