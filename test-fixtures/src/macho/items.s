/* A plugin in Rust: the rows of its items, found by their symbols, and the blocks that their pointers lead to. What rustc
 * (--emit=asm, -Copt-level=z, x86_64-apple-darwin) makes of
 *
 *     #[derive(sideload::Stable)] #[repr(C)] pub struct Size { width: f64, height: f64, depth: u8 }
 *     #[sideload::export] pub extern "C" fn area(of: &Size) -> f64 { of.width * of.height }
 *     #[sideload::export] pub extern "C" fn add(one: i32, other: i32) -> i32 { one + other }
 *     #[sideload::export] pub static COUNT: AtomicU32 = AtomicU32::new(42);
 *
 * in a crate `items` of version 1.0.0, and in place of the crate `sideload-plugin` a function that does nothing. */
	.section	__TEXT,__text,regular,pure_instructions
	.globl	___sideload_adopt_0_1
___sideload_adopt_0_1:
	retq

	.globl	_answer
_answer:
	movl	___sideload_items_1_0_0_export_COUNT(%rip), %eax
	retq

	.globl	___sideload_items_1_0_0_export_add
___sideload_items_1_0_0_export_add:
	.cfi_startproc
	pushq	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	movq	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	leal	(%rdi,%rsi), %eax
	popq	%rbp
	retq
	.cfi_endproc

	.globl	___sideload_items_1_0_0_export_area
___sideload_items_1_0_0_export_area:
	.cfi_startproc
	pushq	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	movq	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	movsd	(%rdi), %xmm0
	mulsd	8(%rdi), %xmm0
	popq	%rbp
	retq
	.cfi_endproc

	.section	__DATA,__data
	.globl	___sideload_items_1_0_0_export_COUNT
	.p2align	2, 0x0
___sideload_items_1_0_0_export_COUNT:
	.asciz	"*\000\000"

	.section	__TEXT,__const
l_block_0:
	.ascii	"i\336\323\215H\000\000\000\002\005COUNT#__sideload_items_1_0_0_export_COUNT\000\000\001\000\004name\005items\007version\0051.0.0"

l_block_1:
	.ascii	"\342@\207\202\272\000\000\000\005adopt\024__sideload_adopt_0_1\005rustc\0061.96.0\006commit(ac68faa20c58cbccd01ee7208bf3b6e93a7d7f96\006target\023x86_64-apple-darwin\017target-features*cmpxchg16b,fxsr,sse,sse2,sse3,sse4.1,ssse3\topt-level\001z"

l_block_2:
	.asciz	"\233\246\027^\016\000\000\000\001\002\004\004\tAtomicU32\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000"

	.section	__DATA,__const
	.globl	___sideload_row_items_1_0_0_COUNT
	.p2align	3, 0x0
___sideload_row_items_1_0_0_COUNT:
	.ascii	"sideload}\224\266\020\001\001\303\b"
	.quad	l_block_0
	.quad	l_block_1
	.quad	l_block_2

	.section	__TEXT,__const
l_block_3:
	.ascii	"\331\305\232\340G\000\000\000\001\003add!__sideload_items_1_0_0_export_add\001C\000\003\000\000\000\004name\005items\007version\0051.0.0"

l_block_4:
	.asciz	"T\346S+\b\000\000\000\001\002\004\004\003i32\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000"

	.section	__DATA,__const
	.globl	___sideload_row_items_1_0_0_add
	.p2align	3, 0x0
___sideload_row_items_1_0_0_add:
	.ascii	"sideload\340\203\302P\003\001\303\b"
	.quad	l_block_3
	.quad	l_block_1
	.quad	l_block_4
	.quad	l_block_4
	.quad	l_block_4

	.section	__TEXT,__const
l_block_5:
	.ascii	"H\346\321\203I\000\000\000\001\004area\"__sideload_items_1_0_0_export_area\001C\000\002\001\000\000\004name\005items\007version\0051.0.0"

l_block_6:
	.asciz	"\254\231\254S>\000\000\000\002\002\b\b\000\377\b\002\030\b\004Size\001\003\005width\000\001\002\b\b\003f64\006height\b\001\002\b\b\003f64\005depth\020\001\002\001\001\002u8\000"

l_block_7:
	.asciz	"\312+\376\377\b\000\000\000\001\002\b\b\003f64\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000"

	.section	__DATA,__const
	.globl	___sideload_row_items_1_0_0_area
	.p2align	3, 0x0
___sideload_row_items_1_0_0_area:
	.ascii	"sideload\272\374\324\316\002\001\303\b"
	.quad	l_block_5
	.quad	l_block_1
	.quad	l_block_6
	.quad	l_block_7

.subsections_via_symbols
