// SPDX-License-Identifier: MIT
/* mlock and msync: what has an effect on device memory, and what is an error. */
#define _GNU_SOURCE
#include "row.h"

/* mlock of all: is anything locked, and are pages asked for? */
static void sys_mlock(void)
{
	struct mapping m = map_shared(NPAGES);
	long locked = locked_memory();

	watch();
	say("mlock=%s", status(mlock(m.start, whole)));
	say(" VmLck%+ld", locked_memory() - locked);
	say_ran("drv");
	say_smaps(m.start, (const char *const[]){ "VmFlags", "Locked", NULL });
	say(" munlock=%s", status(munlock(m.start, whole)));
}

/* mlock in the middle: is the area split, and put together again? */
static void sys_mlock_mid(void)
{
	struct mapping m = map_shared(NPAGES);

	watch();
	say("mlock(4 of 16)=%s", status(mlock(m.start + 4 * page, 4 * page)));
	say(" nvma=%d", areas_in(m.start, whole));
	say_ran("drv");
	munlock(m.start + 4 * page, 4 * page);
	say(" after_munlock nvma=%d", areas_in(m.start, whole));
	say_ran("drv");
}

/* msync with all flags, of a hole, of a file opened for reading, and of locked memory. */
static void sys_msync(void)
{
	struct mapping m = map_shared(NPAGES);
	char *q;

	m.start[0] = 1;
	watch();
	say("SYNC=%s", status(msync(m.start, whole, MS_SYNC)));
	say(" ASYNC=%s", status(msync(m.start, whole, MS_ASYNC)));
	say(" INVALIDATE=%s", status(msync(m.start, whole, MS_INVALIDATE)));
	say(" ASYNC|SYNC=%s", status(msync(m.start, whole, MS_ASYNC | MS_SYNC)));
	say(" unaligned=%s", status(msync(m.start + 1, whole, MS_SYNC)));
	say(" flags0=%s", status(msync(m.start, whole, 0)));
	munmap(m.start + page, page);
	say(" hole:ASYNC=%s", status(msync(m.start, whole, MS_ASYNC)));
	q = map(NULL, whole, PROT_READ, MAP_SHARED, open_device(O_RDONLY), 0);
	say(" rdonlyfd:SYNC=%s", status(msync(q, whole, MS_SYNC)));
	say_ran("drv");
	mlock(m.start, page);
	say(" locked:INVALIDATE=%s", status(msync(m.start, page, MS_INVALIDATE)));
}

const struct row lock_rows[] = {
	ROW(sys_mlock),
	ROW(sys_mlock_mid),
	ROW(sys_msync),
	{ },
};
