/* SPDX-License-Identifier: MIT
 *
 * The batch, as in x86_64_batch.S. A test compares it with BATCH in aarch64.py.
 * Given: x19 the first call, x20 the end of the list. At the trap x0 is the last result, x19 points
 * behind the call that it is of.
 */
	.text
next:	ldr	x8, [x19]
	ldp	x0, x1, [x19, #8]
	ldp	x2, x3, [x19, #24]
	ldp	x4, x5, [x19, #40]
	svc	#0
	add	x19, x19, #56
	cmn	x0, #1, lsl #12
	b.hi	done
	cmp	x19, x20
	b.lo	next
done:	brk	#0
