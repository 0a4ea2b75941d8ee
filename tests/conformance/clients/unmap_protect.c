// SPDX-License-Identifier: MIT
/* munmap and mprotect of a part: areas are split, and the driver is told of each. */
#define _GNU_SOURCE
#include "row.h"

/* All of it, and once more, when nothing is there. */
static void munmap_full(void)
{
	struct mapping m = map_shared(NPAGES);

	watch();
	say("%s", status(munmap(m.start, whole)));
	say_ran("drv");
	say(" again=%s", status(munmap(m.start, whole)));
	say_ran("drv");
}

/* The head: the rest keeps its pages and gets another offset. */
static void munmap_head(void)
{
	struct mapping m = map_shared(NPAGES);

	watch();
	say("%s", status(munmap(m.start, 4 * page)));
	say_ran("drv");
	say_maps(m.start + 4 * page);
	say(" page4=%s", page_name(m.start + 4 * page));
	watch();
	munmap(m.start, whole);
	say_ran("rest");
}

/* The tail. */
static void munmap_tail(void)
{
	struct mapping m = map_shared(NPAGES);

	watch();
	say("%s", status(munmap(m.start + 12 * page, 4 * page)));
	say_ran("drv");
	munmap(m.start, whole);
	say_ran("rest");
}

/* What is refused, and what is rounded up. */
static void munmap_errors(void)
{
	struct mapping m = map_shared(NPAGES);

	say("unaligned=%s", status(munmap(m.start + 1, page)));
	say(" len0=%s", status(munmap(m.start, 0)));
	say(" len1=%s", status(munmap(m.start, 1)));
	say(" page0=%s", load(m.start));
	say(" span_hole=%s", status(munmap(m.start, whole)));
}

/* The middle made read-only and writable again: are the three areas one again? */
static void mprotect_middle(void)
{
	struct mapping m = map_shared(NPAGES);

	watch();
	say("%s", status(mprotect(m.start + 4 * page, 4 * page, PROT_READ)));
	say(" nvma=%d", areas_in(m.start, whole));
	say_ran("drv");
	say(" write_mid=%s", store(m.start + 5 * page, 1));
	say(" write_out=%s", store(m.start + 9 * page, 1));
	watch();
	mprotect(m.start + 4 * page, 4 * page, PROT_RW);
	say(" restored nvma=%d", areas_in(m.start, whole));
	say_ran("drv");
	munmap(m.start, whole);
	say_ran("munmap");
}

const struct row unmap_rows[] = {
	ROW(munmap_full),
	ROW(munmap_head),
	ROW(munmap_tail),
	ROW(munmap_errors),
	ROW(mprotect_middle),
	{ },
};
