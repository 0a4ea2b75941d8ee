// SPDX-License-Identifier: MIT
/* Mappings, read, write and the driver all see the same memory. */
#define _GNU_SOURCE
#include "row.h"

/* What is stored through a mapping is what read(2) and the driver see. */
static void data_mmap_to_read(void)
{
	struct mapping m = map_shared(NPAGES);
	char byte = 0;

	m.start[page + 5] = 'k';
	say("pread=%s", exactly(pread(m.fd, &byte, 1, page + 5), 1));
	say(" match=%d drv=%d", byte == 'k', driver_byte(page + 5) == 'k');
}

/* What write(2) writes is in the mapping. */
static void data_write_to_mmap(void)
{
	struct mapping m = map_shared(NPAGES);

	say("pwrite=%s", exactly(pwrite(m.fd, "m", 1, 2 * page), 1));
	say(" match=%d", m.start[2 * page] == 'm');
}

/* What the driver writes is in the mapping, also in a page that was touched before. */
static void data_drv_to_mmap(void)
{
	struct mapping m = map_shared(NPAGES);

	load(m.start);
	set_driver_byte(0, 'D');
	say("visible=%d", m.start[0] == 'D');
}

/* Two mappings, by two open files, of one page. */
static void data_two_maps(void)
{
	struct mapping m = map_shared(NPAGES);
	char *q = map(NULL, page, PROT_RW, MAP_SHARED, open_device(O_RDWR), 5 * page);

	m.start[5 * page + 9] = 'z';
	say("%s", mapped(q));
	if (q != MAP_FAILED)
		say(" coherent=%d", q[9] == 'z');
}

/* Atomic operations of several processes: none is lost. */
static void data_atomic(void)
{
	struct mapping m = map_shared(NPAGES);
	int *sum = (int *)(m.start + 64);
	int child, i;

	for (child = 0; child < 4; child++) {
		if (fork())
			continue;
		for (i = 0; i < 10000; i++)
			__atomic_fetch_add(sum, 1, __ATOMIC_SEQ_CST);
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
	say("4x10000 lock-adds across processes=%d", *sum);
}

const struct row data_rows[] = {
	ROW(data_mmap_to_read),
	ROW(data_write_to_mmap),
	ROW(data_drv_to_mmap),
	ROW(data_two_maps),
	ROW(data_atomic),
	{ },
};
