// SPDX-License-Identifier: MIT
/* Touching what can't be touched: which signal, which code, which address. */
#define _GNU_SOURCE
#include "row.h"

/* A read-only page written, addresses after the area, an area that was unmapped. */
static void sig_matrix(void)
{
	int fd = open_device(O_RDWR);
	char *p = map(free_range(20), 2 * page, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);

	if (p == MAP_FAILED) {
		say("%s", mapped(p));
		return;
	}
	say("write_to_ro=%s", store(p + 3, 1));
	say(" past_vma=%s", load(p + 2 * page + 7));
	munmap(p, page);
	say(" after_munmap=%s", load(p));
	say(" other_page=%s", load(p + page));
}

/* Pages of the area that the device does not have, touched by the program and by the kernel. */
static void sig_past_device_end(void)
{
	int fd = open_device(O_RDWR), ends[2];
	char *p = map(NULL, whole + 2 * page, PROT_RW, MAP_SHARED, fd, 0);

	say("mmap:%s", mapped(p));
	if (p == MAP_FAILED)
		return;
	watch();
	say(" read=%s", load(p + whole + 0x123));
	say(" write=%s", store(p + whole + page + 0x456, 1));
	say_ran("drv");
	if (pipe(ends))
		return;
	say(" write(2)_from=%s", exactly(write(ends[1], p + whole, 8), 8));
	if (write(ends[1], "abcdefgh", 8) == 8)
		say(" read(2)_into=%s", exactly(read(ends[0], p + whole, 8), 8));
	say(" straddling_write=%ld/8", (long)write(ends[1], p + whole - 4, 8));
	say_ran("drv");
}

const struct row signal_rows[] = {
	ROW(sig_matrix),
	ROW(sig_past_device_end),
	{ },
};
