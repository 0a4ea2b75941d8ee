// SPDX-License-Identifier: MIT
/* mremap: growing, shrinking, moving and doubling a mapping, and what the driver is told of it. */
#define _GNU_SOURCE
#include "row.h"

#define MOVE_TO (MREMAP_MAYMOVE | MREMAP_FIXED)

/* Half of it is cut off. */
static void mremap_shrink(void)
{
	struct mapping m = map_shared(NPAGES);
	char *p;

	watch();
	p = mremap(m.start, whole, 8 * page, 0);
	say("%s same=%d", mapped(p), p == m.start);
	say(" kept=%s", load(m.start));
	say(" cut=%s", load(m.start + 8 * page));
	say_ran("drv");
	munmap(m.start, 8 * page);
	say_ran("munmap");
}

/* Growing where there is room: to twice the size, then to more than the device has. */
static void mremap_grow_inplace(void)
{
	int fd = open_device(O_RDWR);
	char *p = map(free_range(40), 4 * page, PROT_RW, MAP_SHARED | MAP_FIXED, fd, 0);
	char *q;

	watch();
	q = mremap(p, 4 * page, 8 * page, 0);
	say("%s", mapped(q));
	say_ran("drv");
	if (q == MAP_FAILED)
		return;
	say(" page7=%s", page_name(q + 7 * page));
	q = mremap(p, 8 * page, 20 * page, 0);
	say(" to20pages=%s", mapped(q));
	if (q != MAP_FAILED)
		say(" page17=%s", load(q + 17 * page));
	say_ran("drv");
}

/* Growing where there is no room: it moves. */
static void mremap_grow_maymove(void)
{
	struct mapping m = map_shared(4);
	char *p;

	map(m.start + 4 * page, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	watch();
	p = mremap(m.start, 4 * page, 8 * page, MREMAP_MAYMOVE);
	say("%s moved=%d", mapped(p), p != MAP_FAILED && p != m.start);
	say_ran("drv");
	if (p != MAP_FAILED)
		say(" page7=%s", page_name(p + 7 * page));
	say(" old=%s", load(m.start));
}

/* All of it moves; pages that were there still are, others are asked for at the new place. */
static void mremap_move_fixed(void)
{
	struct mapping m = map_shared(NPAGES);
	char *p;

	m.start[0] = 'V';
	watch();
	p = mremap(m.start, whole, whole, MOVE_TO, reserve(NPAGES));
	say("%s", mapped(p));
	say_ran("drv");
	if (p == MAP_FAILED)
		return;
	say(" data=%d", p[0] == 'V');
	say(" old=%s", load(m.start));
	say_ran("touched");
	say(" page5=%s", page_name(p + 5 * page));
	say_ran("page5");
	if (driver_state().ran[REF_FAULT])
		say(" f_pgoff=%llu", (unsigned long long)driver_state().fault_pgoff);
	munmap(p, whole);
	say_ran("munmap");
}

/* Pages from the middle move; two areas are left. */
static void mremap_move_part(void)
{
	struct mapping m = map_shared(NPAGES);
	char *p;

	watch();
	p = mremap(m.start + 4 * page, 4 * page, 4 * page, MOVE_TO, reserve(4));
	say("%s", mapped(p));
	say_ran("drv");
	if (p == MAP_FAILED)
		return;
	say(" new=%s", page_name(p));
	say(" left_nvma=%d", areas_in(m.start, whole));
	say_maps(p);
}

/* The pages move, the old area stays and is empty. */
static void mremap_dontunmap(void)
{
	struct mapping m = map_shared(NPAGES);
	char *p;

	load(m.start);
	watch();
	p = mremap(m.start, whole, whole, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	say("%s", mapped(p));
	say_ran("drv");
	if (p == MAP_FAILED)
		return;
	say(" new=%s", page_name(p));
	say(" old=%s", page_name(m.start));
	say_ran("touch");
}

/* Old size 0: a second mapping of the same. */
static void mremap_dup_old0(void)
{
	struct mapping m = map_shared(NPAGES);
	char *p;

	watch();
	p = mremap(m.start, 0, whole, MREMAP_MAYMOVE);
	say("%s", mapped(p));
	say_ran("drv");
	if (p == MAP_FAILED)
		return;
	say(" dup=%s", page_name(p));
	say(" orig=%s", load(m.start));
}

/* What is refused; areas that differ move together since Linux 6.17. */
static void mremap_errors(void)
{
	struct mapping m = map_shared(NPAGES);
	void *nowhere = (void *)0x100000000;

	say("new0=%s", mapped(mremap(m.start, whole, 0, 0)));
	say(" unaligned=%s", mapped(mremap(m.start + 1, page, page, 0)));
	say(" unmapped=%s", mapped(mremap(nowhere, page, page, 0)));
	say(" fixed_no_maymove=%s", mapped(mremap(m.start, page, page, MREMAP_FIXED, m.start)));
	mprotect(m.start + 8 * page, page, PROT_READ);
	say(" across_vmas=%s", mapped(mremap(m.start, whole, whole, MOVE_TO, reserve(2 * NPAGES))));
	say(" overlap=%s",
	    mapped(mremap(m.start, 4 * page, 4 * page, MOVE_TO, m.start + page)));
}

const struct row remap_rows[] = {
	ROW(mremap_shrink),
	ROW(mremap_grow_inplace),
	ROW(mremap_grow_maymove),
	ROW(mremap_move_fixed),
	ROW(mremap_move_part),
	ROW(mremap_dontunmap),
	ROW(mremap_dup_old0),
	ROW(mremap_errors),
	{ },
};
