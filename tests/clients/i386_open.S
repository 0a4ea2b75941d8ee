# A 32-bit program without a C library: opens the node named by its first argument, exits with the
# result, negated. Assemble with: cc -m32 -static -nostdlib
	.globl _start
_start:
	movl 8(%esp), %ebx
	movl $5, %eax
	movl $2, %ecx
	int $0x80
	negl %eax
	movl %eax, %ebx
	movl $1, %eax
	int $0x80
