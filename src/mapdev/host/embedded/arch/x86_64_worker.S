/* SPDX-License-Identifier: MIT
 *
 * The worker: a thread of a client that makes system calls for the host (see inject/worker.py). Position-
 * independent; a test compares it with WORKER in x86_64.py.
 *
 * Given: rbx a page of memory to work in, r12 a socket's descriptor, r14 the mark of the host's own
 * calls, by which the filter lets the last one pass when there is no host any more. A message is a list of calls,
 * each of 7 words: number, six arguments. They are made in order, up to the first that fails. The
 * answer is what was done, the results in place of the numbers. If there is something behind the
 * list, less than a call, only a failure is answered. At the socket's end the thread ends.
 */
	.text
again:	mov	$45, %eax		/* recvfrom(r12, rbx, 4096, 0, 0, 0) */
	mov	%r12d, %edi
	mov	%rbx, %rsi
	mov	$4096, %edx
	xor	%r10d, %r10d
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	syscall
	test	%rax, %rax
	jle	end
	mov	%rbx, %rbp		/* the call to make next */
	lea	(%rbx,%rax), %r13	/* the end of the list */
next:	mov	(%rbp), %rax
	mov	8(%rbp), %rdi
	mov	16(%rbp), %rsi
	mov	24(%rbp), %rdx
	mov	32(%rbp), %r10
	mov	40(%rbp), %r8
	mov	48(%rbp), %r9
	syscall
	mov	%rax, (%rbp)
	add	$56, %rbp
	cmp	$-4096, %rax
	ja	done
	lea	56(%rbp), %rax
	cmp	%r13, %rax
	jbe	next
	cmp	%r13, %rbp		/* something is left over: no answer is wanted */
	jb	again
done:	mov	$44, %eax		/* sendto(r12, rbx, rbp - rbx, MSG_NOSIGNAL, 0, 0) */
	mov	%r12d, %edi
	mov	%rbx, %rsi
	mov	%rbp, %rdx
	sub	%rbx, %rdx
	mov	$0x4000, %r10d
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	syscall
	jmp	again
end:	mov	$60, %eax		/* exit(0), marked in the sixth argument */
	xor	%edi, %edi
	mov	%r14, %r9
	syscall
