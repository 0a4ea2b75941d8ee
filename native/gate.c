// SPDX-License-Identifier: MIT
/*
 * The code of the gate, which runs in clients: see gate.h.
 *
 * It is copied to another address, so it must refer to nothing outside of its section: no library,
 * no constants, no tables of jumps. hatch_build.py compiles it with options of its own for that. It
 * runs on the stack of whoever made the call, at any depth: it takes some 300 bytes. It touches
 * memory of the program only after the kernel has said that it is there.
 *
 * Signals: nothing is kept but on that stack, so a handler may run and leave at any point. A call
 * that a signal interrupts is restarted by the kernel where it was made, in here.
 */
#include "gate.h"

#ifdef __x86_64__

#include <errno.h>
#include <linux/fcntl.h>
#include <sys/syscall.h>

#ifndef __clang__
#pragma GCC optimize("no-tree-loop-distribute-patterns")	/* loops stay loops: no strlen */
#endif

#define HERE __attribute__((section("mapdev_gate"), visibility("hidden")))
#define INLINE static inline __attribute__((always_inline))

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

/*
 * Called by a jump with rcx: where to go on if the call is handed over; in the 8 bytes before that,
 * where to go on if it was made. eax: its number. The other registers are its arguments. Like
 * `syscall` itself, it changes rax, rcx and r11 only. Below the stack pointer there may be 128 bytes
 * in use (the red zone).
 */
__asm__(
	".pushsection mapdev_gate, \"ax\", @progbits\n"
	".globl mapdev_gate_entry\n"
	".hidden mapdev_gate_entry\n"
	".hidden mapdev_gate_check\n"
	".hidden mapdev_gate_was_wrong\n"
	".balign 16\n"
"mapdev_gate_entry:\n"
	"lea -128(%rsp), %rsp\n"
	"push %rcx\n"
	"push %rax\n"
	"push %r9\n"
	"push %r8\n"
	"push %r10\n"
	"push %rdx\n"
	"push %rsi\n"
	"push %rdi\n"
	"mov %rsp, %rdi\n"
	"mov %eax, %esi\n"
	"mov $" TEXT(0x1e1000) ", %edx\n"
	"call mapdev_gate_check\n"
	"mov %eax, %r11d\n"
	"pop %rdi\n"
	"pop %rsi\n"
	"pop %rdx\n"
	"pop %r10\n"
	"pop %r8\n"
	"pop %r9\n"
	"pop %rax\n"
	"movzwl %ax, %eax\n"
	"sub $1, %r11d\n"
	"jb 5f\n"
	"je 4f\n"
	/* Pass it and look at what came of it: number and verdict are kept meanwhile. */
	"push %rax\n"
	"push %r11\n"
	"syscall\n"
	"pop %r11\n"
	"cmp $1, %r11d\n"
	"jne 1f\n"
	"cmp $-4095, %rax\n"
	"jae 1f\n"
	"lea 8(%rsp), %rsp\n"
	"jmp 3f\n"
"1:\n"
	"push %rax\n"
	"push %r9\n"
	"push %r8\n"
	"push %r10\n"
	"push %rdx\n"
	"push %rsi\n"
	"push %rdi\n"
	"mov %rsp, %rdi\n"
	"mov 56(%rsp), %esi\n"
	"mov $" TEXT(0x1e1000) ", %edx\n"
	"mov %rax, %rcx\n"
	"call mapdev_gate_was_wrong\n"
	"mov %eax, %r11d\n"
	"pop %rdi\n"
	"pop %rsi\n"
	"pop %rdx\n"
	"pop %r10\n"
	"pop %r8\n"
	"pop %r9\n"
	"pop %rax\n"
	"lea 8(%rsp), %rsp\n"
	"test %r11d, %r11d\n"
	"jne 5f\n"
"3:\n"	/* It was made. */
	"pop %rcx\n"
	"lea 128(%rsp), %rsp\n"
	"mov -8(%rcx), %rcx\n"
	"jmp *%rcx\n"
"4:\n"	/* Pass it. */
	"syscall\n"
	"jmp 3b\n"
"5:\n"	/* Hand it over. */
	"pop %rcx\n"
	"lea 128(%rsp), %rsp\n"
	"jmp *%rcx\n"
	".popsection\n"
);
_Static_assert(GATE_TABLE == 0x1e1000, "as in the text above");

INLINE long syscall4(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	register uint64_t r10 __asm__("r10") = d;
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
}

/* Whether the page of an address can be read: an invalid `how` is refused after the mask is read. */
INLINE bool is_readable(uint64_t addr)
{
	return syscall4(SYS_rt_sigprocmask, ~0u, addr & ~7ul, 0, 8) == -EINVAL;
}

INLINE bool is_threaded(uint32_t number)
{
	uint32_t threads;

	if (number & GATE_NO_TLS)
		return false;
	__asm__("movl %%fs:0x18, %0" : "=r"(threads));	/* multiple_threads of glibc's tcbhead_t */
	return threads;
}

INLINE bool has_bit(const uint64_t *bits, uint32_t number)
{
	return bits[number / 64] >> number % 64 & 1;
}

INLINE uint32_t state_of(const struct gate_table *table)
{
	return *(const volatile uint32_t *)&table->state;
}

INLINE bool has_prefix(const struct gate_table *table, const char *path)
{
	for (int i = 0; i < 8 && table->prefixes[i][0]; i++) {
		const char *prefix = table->prefixes[i];
		int at = 0;

		while (prefix[at] && prefix[at] == path[at])
			at++;
		if (!prefix[at])
			return true;
	}
	return false;
}

INLINE int check_file(uint32_t fd, uint32_t number, const struct gate_table *table,
		      const struct gate_check *check)
{
	if (fd >= table->base || state_of(table) & GATE_FILES)
		return GATE_HAND_OVER;
	if (check->rule == GATE_READ && fd < 3)
		return GATE_HAND_OVER;
	if ((check->rule == GATE_WAIT || check->rule == GATE_READ) && is_threaded(number))
		return GATE_HAND_OVER;
	return GATE_PASS;
}

INLINE bool link_at(const uint64_t *call, const struct gate_check *check)
{
	uint64_t fd = check->fd_at == GATE_NOWHERE ? (uint64_t)AT_FDCWD : call[check->fd_at];
	char target;

	return syscall4(SYS_readlinkat, fd, call[check->path_at], (uint64_t)&target, 1) >= 0;
}

INLINE int check_path(const uint64_t *call, uint32_t number, const struct gate_table *table,
		      const struct gate_check *check)
{
	uint32_t state = state_of(table), hash = 0, end;
	uint64_t addr = call[check->path_at];
	const char *path = (const char *)addr;
	bool has_bits = check->bits_at != GATE_NOWHERE && call[check->bits_at] & check->bits;
	uint32_t name = 0;	/* where the last name begins */
	bool is_dots;
	uint8_t byte;

	/* Names, in one pass; each page is asked for before it is touched. */
	for (end = 0;; end++) {
		if ((!end || !((addr + end) % GATE_PAGE)) && !is_readable(addr + end))
			return GATE_HAND_OVER;
		if (end == GATE_PATH)
			return GATE_HAND_OVER;
		byte = path[end];
		if (byte && byte != '/') {
			hash = gate_hash(hash, byte);
			continue;
		}
		if (has_bit(table->ours, gate_bit(hash)))
			return GATE_HAND_OVER;
		if (!byte)
			break;
		hash = 0;
		name = end + 1;
	}
	if (!end) {
		if (check->fd_at != GATE_NOWHERE && check->bits_at != GATE_NOWHERE &&
		    call[check->bits_at] & AT_EMPTY_PATH && !(state & GATE_VISITORS))
			return check_file(call[check->fd_at], number, table, check);
		return GATE_HAND_OVER;
	}
	if (name == end || has_prefix(table, path))	/* a slash at the end has links followed */
		return GATE_HAND_OVER;
	if (path[0] != '/') {
		if (state & GATE_VISITORS)
			return GATE_HAND_OVER;
		if (check->fd_at != GATE_NOWHERE && (uint32_t)call[check->fd_at] >= table->base &&
		    (uint32_t)call[check->fd_at] != (uint32_t)AT_FDCWD)
			return GATE_HAND_OVER;
	}
	is_dots = path[name] == '.' &&
		  (name + 1 == end || (path[name + 1] == '.' && name + 2 == end));
	if (check->lists) {
		if (is_dots || has_bit(table->merged, gate_bit(hash) % GATE_MERGED))
			return GATE_HAND_OVER;
		if (is_threaded(number))
			return GATE_HAND_OVER;
	}
	if (is_dots || has_bits || !check->follows)
		return GATE_PASS;
	if (check->rule == GATE_LOOK && !(state & (GATE_CAREFUL | GATE_FILES)) && !table->is_careful)
		return GATE_PASS_AND_LOOK;
	if (!link_at(call, check))
		return GATE_PASS;
	if (state & (GATE_CAREFUL | GATE_FILES) || table->is_careful || check->rule != GATE_OPEN ||
	    call[check->bits_at] & (O_CREAT | O_TRUNC | O_DIRECTORY | O_PATH))
		return GATE_HAND_OVER;
	return GATE_PASS_AND_LOOK_ALWAYS;
}

HERE int mapdev_gate_check(const uint64_t *call, uint32_t number, const struct gate_table *table)
{
	const struct gate_private *own =
		(const void *)((const char *)table + (GATE_PRIVATE_OFFSET - GATE_PAGE));
	const struct gate_check *check = &table->checks[number & (GATE_SYSCALLS - 1)];

	if (check->rule == GATE_NEVER || state_of(table) & GATE_ALL || own->is_closed)
		return GATE_HAND_OVER;
	if (check->path_at != GATE_NOWHERE)
		return check_path(call, number, table, check);
	if (check->bits_at != GATE_NOWHERE && call[check->bits_at] & check->bits &&
	    (check->rule == GATE_MAP || state_of(table) & GATE_SPACES))
		return GATE_HAND_OVER;
	return check_file(call[check->fd_at], number, table, check);
}

/*
 * Whether a call that was made has to be handed over all the same: it failed, and its path is a link
 * which may lead to something of the host's; or it has opened a directory by way of a link, which
 * may be one with names of the host's.
 */
HERE int mapdev_gate_was_wrong(const uint64_t *call, uint32_t number,
			       const struct gate_table *table, int64_t result)
{
	const struct gate_check *check = &table->checks[number & (GATE_SYSCALLS - 1)];

	if (check->rule != GATE_OPEN)
		return link_at(call, check);
	if (result < 0)
		return true;
	if (syscall4(SYS_getdents64, result, 0, 0, 0) == -ENOTDIR)
		return false;
	syscall4(SYS_close, result, 0, 0, 0);
	return true;
}

#endif
