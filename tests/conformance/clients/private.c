// SPDX-License-Identifier: MIT
/* MAP_PRIVATE: copies on write, where a driver can have it at all. */
#define _GNU_SOURCE
#include "row.h"

static char *map_private_at(void *hint, int mode, size_t length, int prot, unsigned long offset)
{
	char *p = map(hint, length, prot, MAP_PRIVATE, open_device(mode), offset);

	say("%s", mapped(p));
	return p;
}

static char *map_private(int mode, size_t length, int prot, unsigned long offset)
{
	return map_private_at(NULL, mode, length, prot, offset);
}

/*
 * Where all pages of the device have one page table: where they have two, fault-around ends between
 * them, and how many pages are there depends on the address.
 */
static void *in_one_page_table(void)
{
	size_t table = page * (page / sizeof(uint64_t));
	uintptr_t start = (uintptr_t)free_range(2 * table / page);

	return (void *)((start + table - 1) / table * table);
}

/* What the program writes is its own; what the driver writes is seen until then. */
static void priv_rw_full(void)
{
	char *p = map_private_at(in_one_page_table(), O_RDWR, whole, PROT_RW, 0);

	if (p == MAP_FAILED)
		return;
	say(" %s", page_name(p + page));
	store(p, 'X');
	say(" drv_unchanged=%d", driver_byte(0) == 'P');
	set_driver_byte(2 * page, 'Z');
	say(" sees_drv_change_before_cow=%d", p[2 * page] == 'Z');
	set_driver_byte(0, 'Y');
	say(" after_cow_keeps=%d", p[0] == 'X');
	say_maps(p);
	say_smaps(p, (const char *const[]){ "VmFlags", "Rss", "Anonymous", "Private_Dirty", NULL });
}

/* One page is always mapped in one piece. */
static void priv_rw_1page(void)
{
	map_private(O_RDWR, page, PROT_RW, 0);
}

/* Readable only, but it could be made writable. */
static void priv_r_full(void)
{
	char *p = map_private(O_RDWR, whole, PROT_READ, 0);

	if (p == MAP_FAILED)
		return;
	say_maps(p);
	say_smaps(p, (const char *const[]){ "VmFlags", NULL });
}

/* A file opened for reading can be mapped privately and then written to. */
static void priv_r_rdonly(void)
{
	char *p = map_private(O_RDONLY, whole, PROT_READ, 0);

	if (p == MAP_FAILED)
		return;
	say(" mprotect(RW):%s", status(mprotect(p, whole, PROT_RW)));
	say(" write=%s", store(p, 1));
}

/* With an offset. */
static void priv_off3(void)
{
	char *p = map_private(O_RDWR, 2 * page, PROT_RW, 3 * page);

	if (p == MAP_FAILED)
		return;
	say(" %s", page_name(p));
	say_maps(p);
}

/* Parent and child have copies of their own. */
static void priv_fork(void)
{
	char *p = map_private(O_RDWR, whole, PROT_RW, 0);

	if (p == MAP_FAILED)
		return;
	p[0] = 'X';
	if (!fork()) {
		p[0] = 'C';
		p[1] = p[page];
		_exit(0);
	}
	wait(NULL);
	say(" parent_isolated=%d drv_unchanged=%d", p[0] == 'X', driver_byte(0) == 'P');
}

const struct row private_rows[] = {
	ROW(priv_rw_full),
	ROW(priv_rw_1page),
	ROW(priv_r_full),
	ROW(priv_r_rdonly),
	ROW(priv_off3),
	ROW(priv_fork),
	{ },
};
