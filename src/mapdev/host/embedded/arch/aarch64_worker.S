/* SPDX-License-Identifier: MIT
 *
 * The worker, as in x86_64_worker.S. A test compares it with WORKER in aarch64.py.
 * Given: x19 a page of memory to work in, x20 a socket's descriptor, x23 the mark.
 */
	.text
again:	mov	x8, #207		/* recvfrom(x20, x19, 4096, 0, 0, 0) */
	mov	x0, x20
	mov	x1, x19
	mov	x2, #4096
	mov	x3, xzr
	mov	x4, xzr
	mov	x5, xzr
	svc	#0
	cmp	x0, #0
	b.le	end
	mov	x21, x19		/* the call to make next */
	add	x22, x19, x0		/* the end of the list */
next:	ldr	x8, [x21]
	ldp	x0, x1, [x21, #8]
	ldp	x2, x3, [x21, #24]
	ldp	x4, x5, [x21, #40]
	svc	#0
	str	x0, [x21], #56
	cmn	x0, #1, lsl #12
	b.hi	done
	add	x0, x21, #56
	cmp	x0, x22
	b.ls	next
	cmp	x21, x22		/* something is left over: no answer is wanted */
	b.lo	again
done:	mov	x8, #206		/* sendto(x20, x19, x21 - x19, MSG_NOSIGNAL, 0, 0) */
	mov	x0, x20
	mov	x1, x19
	sub	x2, x21, x19
	mov	x3, #0x4000
	mov	x4, xzr
	mov	x5, xzr
	svc	#0
	b	again
end:	mov	x8, #93			/* exit(0), marked in the sixth argument */
	mov	x0, xzr
	mov	x5, x23
	svc	#0
