/* SPDX-License-Identifier: MIT
 *
 * The batch: makes a list of system calls in a stopped thread of a client (see batch.py). Position-
 * independent; a test compares it with BATCH in x86_64.py.
 *
 * Given: rbx the first call, r13 the end of the list. A call is 7 words: number, six arguments. They
 * are made in order, up to the first that fails, then the thread traps: rax is the result of the
 * last one that was made, rbx points behind it. Nothing is written, and the stack is not touched.
 */
	.text
next:	mov	(%rbx), %rax
	mov	8(%rbx), %rdi
	mov	16(%rbx), %rsi
	mov	24(%rbx), %rdx
	mov	32(%rbx), %r10
	mov	40(%rbx), %r8
	mov	48(%rbx), %r9
	syscall
	add	$56, %rbx
	cmp	$-4096, %rax
	ja	done
	cmp	%r13, %rbx
	jb	next
done:	int3
