// Eight megabytes of code: mapped from the file, not read.
    .text
    .globl answer
    .type answer, @function
answer:
    jmp far_away
    .size answer, .-answer
    .fill 1048576, 8, 0x90909090cccccccc
far_away:
    movl $42, %eax
    ret
    .section .note.GNU-stack,"",@progbits
