// SPDX-License-Identifier: MIT
/* Mappings of a file opened for reading: nothing makes them writable, whatever becomes of them. */
#define _GNU_SOURCE
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "row.h"

#define MOVE_TO (MREMAP_MAYMOVE | MREMAP_FIXED)

static char *map_readable(void *address, size_t pages, int prot, int flags)
{
	char *p = map(address, pages * page, prot, MAP_SHARED | flags, open_device(O_RDONLY), 0);

	if (p != MAP_FAILED)
		return p;
	say("mmap:%s", error_name(errno));
	_exit(0);
}

/* What a page says to being made writable, and whether it then is; a touched and an untouched one. */
static void try_to_write(const char *tag, char *at)
{
	load(at);
	say(" %s:rw=%s", tag, status(mprotect(at, 2 * page, PROT_RW)));
	say(",w=%s", status(mprotect(at, 2 * page, PROT_WRITE)));
	say(",rx=%s", status(mprotect(at, 2 * page, PROT_READ | PROT_EXEC)));
	say(",r=%s", status(mprotect(at, 2 * page, PROT_READ)));
	say(",store=%s", store(at, 'W'));
	say(",untouched=%s", store(at + page, 'W'));
	say(",load=%s", load(at + page));
}

/* Wherever it is placed. */
static void readonly_anywhere(void)
{
	try_to_write("anywhere", map_readable(NULL, NPAGES, PROT_READ, 0));
	say(" driver=%c%c", driver_byte(0), driver_byte(page));
}

static void readonly_hint(void)
{
	try_to_write("hint", map_readable(free_range(NPAGES), NPAGES, PROT_READ, 0));
}

static void readonly_fixed(void)
{
	try_to_write("fixed", map_readable(reserve(NPAGES), NPAGES, PROT_READ, MAP_FIXED));
}

static void readonly_noreplace(void)
{
	try_to_write("noreplace", map_readable(free_range(NPAGES), NPAGES, PROT_READ,
					       MAP_FIXED_NOREPLACE));
}

static void readonly_low(void)
{
	char *low = (char *)0x20000000;	/* where a program may place it, with 32 bits */

	try_to_write("low", map_readable(low, NPAGES, PROT_READ, MAP_FIXED));
}

static void readonly_none(void)
{
	char *p = map_readable(NULL, NPAGES, PROT_NONE, 0);

	say("touch=%s", load(p));
	say(" r=%s", status(mprotect(p, whole, PROT_READ)));
	try_to_write("none", p);
	p = map_readable(reserve(NPAGES), NPAGES, PROT_NONE, MAP_FIXED);
	say(" rw=%s", status(mprotect(p, whole, PROT_RW)));
	say(" r=%s", status(mprotect(p, whole, PROT_READ)));
	try_to_write("fixed_none", p);
}

/* Moved: to another place that was free, into a reservation, in part. */
static void readonly_moved(void)
{
	char *p = map_readable(NULL, NPAGES, PROT_READ, 0);
	char *q = mremap(p, whole, whole, MOVE_TO, reserve(NPAGES));

	say("%s", mapped(q));
	if (q != MAP_FAILED)
		try_to_write("moved", q);
	p = mremap(q + 4 * page, 4 * page, 4 * page, MOVE_TO, reserve(4));
	say(" %s", mapped(p));
	if (p != MAP_FAILED)
		try_to_write("part", p);
	try_to_write("left", q + 8 * page);
}

/* Split: what is before, in and behind the middle. */
static void readonly_split(void)
{
	char *p = map_readable(NULL, NPAGES, PROT_READ, 0);

	say("none=%s", status(mprotect(p + 6 * page, 2 * page, PROT_NONE)));
	try_to_write("before", p + 2 * page);
	try_to_write("middle", p + 6 * page);
	try_to_write("behind", p + 10 * page);
	say(" hole=%s", status(munmap(p + 6 * page, page)));
	try_to_write("beside", p + 7 * page);
	say(" all=%s", status(mprotect(p, whole, PROT_RW)));
}

/* In a child, and in the child of a child. */
static void readonly_forked(void)
{
	char *p = map_readable(NULL, NPAGES, PROT_READ, 0);
	char *q = map_readable(reserve(NPAGES), NPAGES, PROT_READ, MAP_FIXED);

	load(p);
	if (!fork()) {
		try_to_write("child", p);
		try_to_write("child_fixed", q);
		if (!fork()) {
			try_to_write("grandchild", p + 4 * page);
			_exit(0);
		}
		wait(NULL);
		_exit(0);
	}
	wait(NULL);
}

/* Grown in place, grown and moved. */
static void readonly_grown(void)
{
	char *p = map_readable(free_range(2 * NPAGES), 4, PROT_READ, MAP_FIXED);
	char *q = mremap(p, 4 * page, 8 * page, 0);

	say("%s", mapped(q));
	if (q != MAP_FAILED)
		try_to_write("grown", q + 5 * page);
	p = map_readable(reserve(5), 4, PROT_READ, MAP_FIXED);
	q = mremap(p, 4 * page, 8 * page, MREMAP_MAYMOVE);
	say(" %s", mapped(q));
	if (q != MAP_FAILED)
		try_to_write("moved", q + 5 * page);
}

/* A second one by old size 0, and an empty one left behind. */
static void readonly_doubled(void)
{
	char *p = map_readable(NULL, NPAGES, PROT_READ, 0);
	char *q = mremap(p, 0, whole, MREMAP_MAYMOVE);

	say("old0=%s", mapped(q));
	if (q != MAP_FAILED)
		try_to_write("second", q);
	q = mremap(p, 0, whole, MOVE_TO, reserve(NPAGES));
	say(" old0_fixed=%s", mapped(q));
	if (q != MAP_FAILED)
		try_to_write("second_fixed", q);
	q = mremap(p, whole, whole, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	say(" dontunmap=%s", mapped(q));
	if (q != MAP_FAILED)
		try_to_write("new", q);
	try_to_write("old", p);
}

/* Writes by the kernel, for this process and as a debugger. */
static void readonly_kernel_writes(void)
{
	char *p = map_readable(NULL, NPAGES, PROT_READ, 0), data[4] = "abc";
	int memory = open("/proc/self/mem", O_RDWR), zero = open("/dev/zero", O_RDONLY);
	struct iovec ours = { data, 3 }, theirs = { p, 3 };

	load(p);
	watch();
	say("read=%s", amount(read(zero, p, 3)));
	say(" untouched=%s", amount(read(zero, p + page, 3)));
	say(" device=%s", amount(pread(open_device(O_RDONLY), p, 3, page)));
	say(" mem=%s", amount(pwrite(memory, data, 3, (off_t)p)));
	say(" mem_untouched=%s", amount(pwrite(memory, data, 3, (off_t)p + page)));
	say(" vm=%s", amount(process_vm_writev(getpid(), &ours, 1, &theirs, 1, 0)));
	say(" populate=%s", status(madvise(p, whole, MADV_POPULATE_WRITE)));
	say(" populate_read=%s", status(madvise(p, whole, MADV_POPULATE_READ)));
	say_ran("drv");
	say(" driver=%c%c", driver_byte(0), driver_byte(page));
}

/* A private one may be written: the device sees nothing of it. */
static void readonly_private(void)
{
	int fd = open_device(O_RDONLY);
	char *p = map(NULL, whole, PROT_READ, MAP_PRIVATE, fd, 0);

	if (p == MAP_FAILED) {
		say("mmap:%s", error_name(errno));
		return;
	}
	load(p);
	say("rw=%s", status(mprotect(p, whole, PROT_RW)));
	say(" store=%s", store(p, 'W'));
	say(" untouched=%s", store(p + page, 'W'));
	say(" kept=%c%c", p[0], p[page]);
	say(" driver=%c%c", driver_byte(0), driver_byte(page));
	say(" next=%s", page_name(p + 2 * page));
	say(" fixed=%s", mapped(map(p, 4 * page, PROT_RW, MAP_PRIVATE | MAP_FIXED, fd, 0)));
	say(" store=%s", store(p, 'W'));
	say(" driver=%c", driver_byte(0));
}

/* Which mappings can be made at all, by how the file was opened. */
static void readonly_mmap_modes(void)
{
	static const struct { const char *name; int flags; } opened[] = {
		{ "r", O_RDONLY }, { "w", O_WRONLY }, { "rw", O_RDWR }, { "none", 3 },
	};
	static const struct { const char *name; int prot; } wanted[] = {
		{ "r", PROT_READ }, { "w", PROT_WRITE }, { "rw", PROT_RW }, { "x", PROT_EXEC },
		{ "-", PROT_NONE },
	};
	size_t i, j;

	for (i = 0; i < 4; i++) {
		int fd = open_device(opened[i].flags);

		say(" %s:", opened[i].name);
		for (j = 0; j < 5; j++) {
			say("%s=%s", wanted[j].name, mapped(map(NULL, page, wanted[j].prot, MAP_SHARED,
								 fd, 0)));
			say("/%s ", mapped(map(NULL, page, wanted[j].prot, MAP_PRIVATE, fd, 0)));
		}
	}
}

/* Pages taken away, or locked, and then written. */
static void readonly_advised(void)
{
	char *p = map_readable(NULL, NPAGES, PROT_READ, 0);

	load(p);
	say("lock=%s", status(mlock(p, whole)));
	try_to_write("locked", p);
	say(" unlock=%s", status(munlock(p, whole)));
	say(" dontneed=%s", status(madvise(p, whole, MADV_DONTNEED)));
	say(" rw=%s", status(mprotect(p, whole, PROT_RW)));
	say(" remove=%s", status(madvise(p, page, MADV_REMOVE)));
	say(" dontfork=%s", status(madvise(p, 4 * page, MADV_DONTFORK)));
	say(" rw=%s", status(mprotect(p, 4 * page, PROT_RW)));
}

/* The areas as /proc describes them. */
static void readonly_in_maps(void)
{
	char *p = map_readable(NULL, NPAGES, PROT_READ, 0);
	char *q = map_readable(reserve(NPAGES), NPAGES, PROT_READ, MAP_FIXED);

	mprotect(p + 4 * page, page, PROT_RW);
	mprotect(q + 4 * page, page, PROT_RW);
	mprotect(q + 8 * page, page, PROT_NONE);
	say_maps(p);
	say_maps(p + 4 * page);
	say_maps(q);
	say_maps(q + 4 * page);
	say_maps(q + 8 * page);
	say(" %d", areas_in(p, whole));
}

const struct row read_only_rows[] = {
	ROW(readonly_anywhere),
	ROW(readonly_hint),
	ROW(readonly_fixed),
	ROW(readonly_noreplace),
	ROW(readonly_low),
	ROW(readonly_none),
	ROW(readonly_moved),
	ROW(readonly_split),
	ROW(readonly_forked),
	ROW(readonly_grown),
	ROW(readonly_doubled),
	ROW(readonly_kernel_writes),
	ROW(readonly_private),
	ROW(readonly_mmap_modes),
	ROW(readonly_advised),
	ROW(readonly_in_maps),
	{ },
};
