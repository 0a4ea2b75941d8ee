// SPDX-License-Identifier: MIT
/*
 * Redirects system calls of clients to the gate, by writing jumps into their C library and loader.
 *
 * A thread whose call has been received waits in the kernel. If that call comes from a known site,
 * the first of the loader after an exec, the host gives the thread some instructions to run when the
 * call returns (a stub, in place of those behind its `syscall`): they map the gate and make the call
 * again, in the same place. When that is received, what stood there is put back, and the sites are
 * redirected. All is written by way of /proc/PID/mem, which takes no tracer; a page that is written
 * to becomes the client's own.
 *
 * A site's first five bytes become a jump to a thunk, which says what call it is and where to go on.
 * Thunks are in the rest of the last page of the image's code, which is used by nothing. A call that
 * is handed over is made by the original `syscall` instruction, if there still is one: debuggers,
 * unwinders and restarts see no difference.
 *
 * Only in a process of one thread, which nobody traces, and which has no filter of its own: other
 * threads might run what is written, a debugger would show it, and a filter might not allow what the
 * gate does. Whatever fails leaves a client as it was, or with some sites redirected: both work.
 */
#include "redirect.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define JUMP 5	/* bytes */

/* --- code ------------------------------------------------------------------------------------ */

struct code {
	uint8_t bytes[GATE_PAGE];
	size_t size;
	uint64_t at;		/* where it will stand */
};

static void put(struct code *code, const void *bytes, size_t size)
{
	memcpy(code->bytes + code->size, bytes, size);
	code->size += size;
}

#define PUT(code, ...) put(code, (const uint8_t[]){ __VA_ARGS__ }, sizeof((uint8_t[]){ __VA_ARGS__ }))

static void put32(struct code *code, uint32_t value)
{
	put(code, &value, sizeof(value));
}

static void put64(struct code *code, uint64_t value)
{
	put(code, &value, sizeof(value));
}

/* The distance to an address, from behind these four bytes. */
static void put_distance(struct code *code, uint64_t to)
{
	put32(code, (uint32_t)(to - (code->at + code->size + 4)));
}

static void put_jump(struct code *code, uint64_t to)
{
	PUT(code, 0xe9);
	put_distance(code, to);
}

/* What goes on with a call that is handed over: the instructions that the jump replaced. */
static void put_tail(struct code *code, const struct site *site, uint64_t at)
{
	uint32_t distance;

	switch (site->kind) {
	case MOV:
		put(code, site->code, 5);
		put_jump(code, at + 5);
		break;
	case FLAG:
		memcpy(&distance, site->code + 2, sizeof(distance));
		put(code, site->code, 2);
		/* Counted from behind the instruction, one byte further. */
		put32(code, (uint32_t)(distance + at + 7 - (code->at + code->size + 5)));
		PUT(code, 0);
		put_jump(code, at + 7);
		break;
	case TLS:
		put(code, site->code, 8);
		put_jump(code, at + 8);
		break;
	case BARE:
		put(code, site->code, 10);
		put_jump(code, at + 10);
	}
}

static void put_thunk(struct code *code, const struct image *image, const struct site *site,
		      uint64_t at)
{
	uint64_t tail = code->at + code->size + 29, back = at + mapdev_site_return(site);

	PUT(code, 0xb8);				/* mov $number, %eax */
	put32(code, site->number | (image->is_loader ? GATE_NO_TLS : 0));
	PUT(code, 0x48, 0x8d, 0x0d);			/* lea tail(%rip), %rcx */
	put_distance(code, tail);
	PUT(code, 0x41, 0xbb);				/* mov $gate, %r11d */
	put32(code, GATE);
	PUT(code, 0x41, 0xff, 0xe3);			/* jmp *%r11 */
	put64(code, site->kind == BARE ? tail + 4 : back);
	put_tail(code, site, at);
}

/* What a thread runs to map the gate: like a system call, it changes rax, rcx and r11 only. */
static void put_stub(struct code *code, const struct gate *gate, int fd, uint32_t number,
		     uint64_t ip)
{
	PUT(code, 0x48, 0x8d, 0x64, 0x24, 0x80);	/* lea -128(%rsp), %rsp */
	PUT(code, 0x57, 0x56, 0x52, 0x41, 0x52, 0x41, 0x50, 0x41, 0x51);	/* push arguments */
	PUT(code, 0xb8);				/* mmap(GATE, ...) */
	put32(code, SYS_mmap);
	PUT(code, 0xbf);
	put32(code, GATE);
	PUT(code, 0xbe);
	put32(code, GATE_SIZE);
	PUT(code, 0xba);
	put32(code, PROT_READ | PROT_EXEC);
	PUT(code, 0x41, 0xba);
	put32(code, MAP_PRIVATE | MAP_FIXED_NOREPLACE);
	PUT(code, 0x49, 0xb8);
	put64(code, gate->secret | (uint32_t)fd);
	PUT(code, 0x45, 0x31, 0xc9, 0x0f, 0x05);
	PUT(code, 0xb8);				/* close(fd) */
	put32(code, SYS_close);
	PUT(code, 0xbf);
	put32(code, fd);
	PUT(code, 0x0f, 0x05);
	PUT(code, 0x41, 0x59, 0x41, 0x58, 0x41, 0x5a, 0x5a, 0x5e, 0x5f);	/* pop arguments */
	PUT(code, 0x48, 0x8d, 0xa4, 0x24, 0x80, 0x00, 0x00, 0x00);	/* lea 128(%rsp), %rsp */
	PUT(code, 0xb8);				/* the call, once more */
	put32(code, number);
	put_jump(code, ip - 2);
}

/* --- clients --------------------------------------------------------------------------------- */

static bool read_client(uint32_t tid, uint64_t addr, void *data, size_t size)
{
	struct iovec ours = { data, size }, theirs = { (void *)(uintptr_t)addr, size };

	return process_vm_readv(tid, &ours, 1, &theirs, 1, 0) == (ssize_t)size;
}

static int open_memory(uint32_t tid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%u/mem", tid);
	return open(path, O_RDWR | O_CLOEXEC);
}

static bool write_client(int memory, uint64_t addr, const void *data, size_t size)
{
	return pwrite(memory, data, size, addr) == (ssize_t)size;
}

static long field(const char *status, const char *name)
{
	const char *at = strstr(status, name);

	return at ? strtol(at + strlen(name), NULL, 10) : -1;
}

/* Whether nothing but the thread that waits can run what is written, or would show it. */
static bool is_alone(const struct gate *gate, uint32_t tid)
{
	char path[32], status[4096];
	ssize_t size;
	long filters;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/status", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	size = fd < 0 ? -1 : read(fd, status, sizeof(status) - 1);
	if (fd >= 0)
		close(fd);
	if (size <= 0)
		return false;
	status[size] = 0;
	if (field(status, "\nTracerPid:") || field(status, "\nThreads:") != 1)
		return false;
	filters = field(status, "\nSeccomp_filters:");	/* Linux 5.10 */
	if (filters >= 0 && filters != gate->filters)
		return false;
	/* vfork and posix_spawn: the parent's threads run in the same memory. */
	return syscall(SYS_kcmp, tid, field(status, "\nPPid:"), KCMP_VM, 0, 0) != 0;
}

static bool has_gate(const struct gate *gate, uint32_t tid)
{
	uint64_t magic;

	return read_client(tid, GATE_TABLE, &magic, sizeof(magic)) && magic == gate->table->magic;
}

static struct pending *pending_of(struct gate *gate, uint32_t tid)
{
	for (int i = 0; i < PENDING; i++)
		if (gate->pending[i].tid == tid)
			return &gate->pending[i];
	return NULL;
}

static struct pending *free_pending(struct gate *gate)
{
	struct pending *found = pending_of(gate, 0);

	for (int i = 0; i < PENDING && !found; i++)
		if (syscall(SYS_tgkill, gate->pending[i].tid, gate->pending[i].tid, 0) &&
		    errno == ESRCH)
			found = &gate->pending[i];	/* it was killed */
	return found;
}

/* Give the thread a stub to run. Return whether its call has been answered. */
static bool begin(struct gate *gate, int listener, const uint64_t *call, uint64_t text_end)
{
	struct seccomp_notif_addfd addfd = {
		.id = call[ID], .srcfd = gate->memfd, .newfd_flags = O_CLOEXEC,
	};
	struct seccomp_notif_resp response = { .id = call[ID] };
	struct pending *pending = free_pending(gate);
	uint32_t tid = (uint32_t)call[TID];
	struct code stub = { .at = call[IP] };
	int fd, memory;

	if (!pending || call[IP] + STUB > text_end ||
	    !read_client(tid, call[IP], pending->code, STUB))
		return false;
	memory = open_memory(tid);
	if (memory < 0)
		return false;
	fd = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &addfd);
	if (fd < 0) {
		close(memory);
		return false;
	}
	put_stub(&stub, gate, fd, (uint32_t)call[NR], call[IP]);
	if (!write_client(memory, call[IP], stub.bytes, stub.size)) {
		/* Some kernels forbid it (proc_mem.force_override): then nothing of it is there. */
		close(memory);
		return false;
	}
	close(memory);
	pending->tid = tid;
	pending->ip = call[IP];
	/* Any other answer too has the thread run the stub, so errors don't matter. */
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
	return true;
}

static void redirect_image(struct gate *gate, uint32_t tid, const struct image *image,
			   uint64_t start, uint64_t ip)
{
	struct code thunks = { .at = start + image->text_end };
	uint64_t room = -image->text_end % GATE_PAGE;
	uint64_t targets[SITES];
	int memory = open_memory(tid), count = 0;

	if (memory < 0)
		return;
	thunks.size = -thunks.at % 16;
	for (; count < image->count && thunks.size + 48 <= room; count++) {
		targets[count] = thunks.at + thunks.size;
		put_thunk(&thunks, image, &image->sites[count], start + image->sites[count].at);
	}
	if (write_client(memory, thunks.at, thunks.bytes, thunks.size)) {
		for (int i = 0; i < count; i++) {
			struct code jump = { .at = start + image->sites[i].at };

			/* The call that waits returns to what a jump there would write over. */
			if (image->sites[i].kind == BARE && jump.at + 4 == ip)
				continue;
			put_jump(&jump, targets[i]);
			if (!write_client(memory, jump.at, jump.bytes, JUMP))
				break;
		}
		gate->redirected++;
	}
	close(memory);
}

/* --- calls ----------------------------------------------------------------------------------- */

static bool is_image(uint32_t tid, const struct image *image, uint64_t start)
{
	uint8_t note[NOTE];

	return read_client(tid, start + image->note_at, note, image->note_size) &&
	       !memcmp(note, image->note, image->note_size);
}

/* Whether an image of a process was looked at before; if not, it has been from now on. */
static bool is_known(struct gate *gate, uint32_t tid, uint64_t start)
{
	uint64_t key = start ^ (uint64_t)tid << 40 ^ tid;
	uint64_t *at = &gate->attempts[(key ^ key >> 12 ^ key >> 32) % ATTEMPTS];

	if (*at == key)
		return true;
	*at = key;
	return false;
}

/* Redirect an image's sites, or have the gate mapped first. True: the call has been answered. */
static bool look(struct gate *gate, int listener, const uint64_t *call, const struct image *image,
		 const struct site *site, uint64_t start, bool is_again)
{
	uint32_t tid = (uint32_t)call[TID];
	uint8_t code[sizeof(site->code)];

	if ((is_known(gate, tid, start) && !is_again) || !is_image(tid, image, start))
		return false;
	if (!read_client(tid, start + site->at, code, sizeof(code)) ||
	    memcmp(code, site->code, sizeof(code)))
		return false;	/* redirected already */
	if (!is_alone(gate, tid))
		return false;
	if (has_gate(gate, tid)) {
		redirect_image(gate, tid, image, start, call[IP]);
		return false;
	}
	return image->is_loader && !is_again &&
	       begin(gate, listener, call, start + image->text_end);
}

static void find_images(struct gate *gate)
{
	gate->images_count = 0;
	gate->images = calloc(IMAGES, sizeof(*gate->images));
	if (gate->images)
		gate->images_count = mapdev_find_images(gate->images, gate->rules);
	for (int i = 0; i < gate->images_count; i++)
		for (int j = 0; j < gate->images[i].count; j++) {
			const struct site *site = &gate->images[i].sites[j];
			uint64_t offset = (site->at + mapdev_site_return(site)) % GATE_PAGE;

			gate->offsets[offset / 64] |= 1ul << offset % 64;
		}
}

/* Put back what the stub of a thread replaced; return whether there was one. */
static bool end(struct gate *gate, const uint64_t *call)
{
	struct pending *pending = pending_of(gate, (uint32_t)call[TID]);
	int memory;

	if (!pending)
		return false;
	pending->tid = 0;
	if (pending->ip != call[IP])
		return false;	/* another thread by now: the one with the stub was killed */
	memory = open_memory((uint32_t)call[TID]);
	if (memory >= 0) {
		write_client(memory, call[IP], pending->code, STUB);
		close(memory);
	}
	return true;
}

/*
 * Look whether a call that was received comes from a site which can be redirected. Return true if
 * the call has been answered: it will be made again.
 */
bool mapdev_redirect(struct gate *gate, int listener, const uint64_t *call)
{
	uint64_t offset = call[IP] % GATE_PAGE;
	bool is_again = end(gate, call);

	gate->notified++;
	if ((uint32_t)call[ARCH] != AUDIT_ARCH_X86_64)
		return false;
	if (gate->images_count < 0)
		find_images(gate);
	if (!(gate->offsets[offset / 64] >> offset % 64 & 1))
		return false;
	for (int i = 0; i < gate->images_count; i++) {
		const struct image *image = &gate->images[i];

		for (int j = 0; j < image->count; j++) {
			const struct site *site = &image->sites[j];
			uint64_t start = call[IP] - site->at - mapdev_site_return(site);

			if (start % GATE_PAGE || site->number != (uint32_t)call[NR])
				continue;
			if (look(gate, listener, call, image, site, start, is_again))
				return true;
		}
	}
	return false;
}

/* Have a client make all calls where its program makes them, from now on; if it has the gate. */
void mapdev_close_gate(const struct gate *gate, uint32_t tid)
{
	static const struct gate_private closed = { .is_closed = 1 };
	int memory = has_gate(gate, tid) ? open_memory(tid) : -1;

	if (memory < 0)
		return;
	write_client(memory, GATE + GATE_PRIVATE_OFFSET, &closed, sizeof(closed));
	close(memory);
}
