// SPDX-License-Identifier: MIT
/* mmap: where a mapping goes and what was there before; populated, locked and limited mappings. */
#define _GNU_SOURCE
#include <sys/resource.h>

#include "row.h"

/* MAP_FIXED inside a page. */
static void mmap_fixed_unaligned(void)
{
	int fd = open_device(O_RDWR);

	watch();
	say("%s", mapped(map((void *)0x10000001, page, PROT_RW, MAP_SHARED | MAP_FIXED, fd, 0)));
	say_ran("drv");
}

/* MAP_FIXED in the place of ordinary memory. */
static void mmap_fixed_over_anon(void)
{
	int fd = open_device(O_RDWR);
	char *old = map(NULL, 4 * page, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *p = map(old, page, PROT_RW, MAP_SHARED | MAP_FIXED, fd, 0);

	say("%s same=%d", mapped(p), p == old);
	say(" %s", page_name(p));
}

/* MAP_FIXED in the middle of another mapping of the device: it is split, and the driver told. */
static void mmap_fixed_over_self(void)
{
	struct mapping m = map_shared(NPAGES);

	watch();
	say("%s", mapped(map(m.start + 4 * page, page, PROT_RW, MAP_SHARED | MAP_FIXED, m.fd, 0)));
	say(" page4=%s", page_name(m.start + 4 * page));
	say(" nvma=%d", areas_in(m.start, whole));
	say_ran("drv");
}

/* MAP_FIXED that the kernel refuses itself: the old mapping must still be there. */
static void mmap_fixed_fail_in_core(void)
{
	int fd = open_device(O_RDONLY);
	char *old = map(NULL, 4 * page, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*old = 7;
	say("%s", mapped(map(old, page, PROT_RW, MAP_SHARED | MAP_FIXED, fd, 0)));
	say(" old_mapping=%s", load(old));
}

/* A hint that is no multiple of a page. */
static void mmap_hint(void)
{
	int fd = open_device(O_RDWR);
	char *hint = (char *)0x200000000000;
	char *p = map(hint + 5, page, PROT_RW, MAP_SHARED, fd, 0);

	say("%s hint_rounded_honoured=%d", mapped(p), p == hint || p == hint + page);
}

/* MAP_POPULATE: does mmap itself ask for all pages, and does a touch ask again? */
static void mmap_populate(void)
{
	int fd = open_device(O_RDWR);
	char *p;

	watch();
	p = map(NULL, whole, PROT_RW, MAP_SHARED | MAP_POPULATE, fd, 0);
	say("%s", mapped(p));
	say_ran("drv");
	if (p == MAP_FAILED)
		return;
	load(p);
	store(p + page, 1);
	say_ran("touch");
	say_smaps(p, (const char *const[]){ "Rss", NULL });
}

/* MAP_LOCKED: is device memory counted as locked? */
static void mmap_locked(void)
{
	int fd = open_device(O_RDWR);
	long locked = locked_memory();
	char *p;

	watch();
	p = map(NULL, whole, PROT_RW, MAP_SHARED | MAP_LOCKED, fd, 0);
	say("%s VmLck%+ld", mapped(p), locked_memory() - locked);
	say_ran("drv");
	if (p != MAP_FAILED)
		say_smaps(p, (const char *const[]){ "VmFlags", NULL });
}

/* MAP_LOCKED beyond what an ordinary user may lock, and where nothing may be locked. */
static void mmap_locked_rlim(void)
{
	int fd = open_device(O_RDWR);
	struct rlimit limit = { page, page };

	setrlimit(RLIMIT_MEMLOCK, &limit);
	if (geteuid() == 0 && setresuid(1000, 1000, 1000))
		cannot("become an ordinary user");
	watch();
	say("64K:%s", mapped(map(NULL, whole, PROT_RW, MAP_SHARED | MAP_LOCKED, fd, 0)));
	limit.rlim_cur = limit.rlim_max = 0;
	setrlimit(RLIMIT_MEMLOCK, &limit);
	say(" rlim0:%s", mapped(map(NULL, page, PROT_RW, MAP_SHARED | MAP_LOCKED, fd, 0)));
	say_ran("drv");
}

/* More address space than RLIMIT_AS allows. */
static void mmap_rlimit_as(void)
{
	int fd = open_device(O_RDWR);
	struct rlimit limit = { page, page };

	setrlimit(RLIMIT_AS, &limit);
	watch();
	say("%s", mapped(map(NULL, whole, PROT_RW, MAP_SHARED, fd, 0)));
	say_ran("drv");
}

/* Two mappings side by side that continue each other: do they become one area? */
static void mmap_adjacent_merge(void)
{
	int fd = open_device(O_RDWR);
	char *start = reserve(4);
	char *p, *q;

	watch();
	p = map(start, 2 * page, PROT_RW, MAP_SHARED | MAP_FIXED, fd, 0);
	say("%s", mapped(p));
	q = map(start + 2 * page, 2 * page, PROT_RW, MAP_SHARED | MAP_FIXED, fd, 2 * page);
	say(" %s", mapped(q));
	say(" nvma=%d", areas_in(start, 4 * page));
	say(" page2=%s", page_name(start + 2 * page));
	say_ran("drv");
}

const struct row placement_rows[] = {
	ROW(mmap_fixed_unaligned),
	ROW(mmap_fixed_over_anon),
	ROW(mmap_fixed_over_self),
	ROW(mmap_fixed_fail_in_core),
	ROW(mmap_hint),
	ROW(mmap_populate),
	ROW(mmap_locked),
	ROW(mmap_locked_rlim),
	ROW(mmap_rlimit_as),
	ROW(mmap_adjacent_merge),
	{ },
};
