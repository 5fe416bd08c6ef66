// Exports an absolute symbol (SHN_ABS), whose value is a number and gets no bias.
//# answer: none
    .globl absolute_forty
    .set absolute_forty, 40
    .section .note.GNU-stack,"",@progbits
