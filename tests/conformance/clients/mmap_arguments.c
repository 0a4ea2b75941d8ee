// SPDX-License-Identifier: MIT
/* mmap: which arguments are refused, with which error, and is the driver asked before or not? */
#define _GNU_SOURCE
#include "row.h"

#define FIRST_OF(bits) ((bits) & -page)		/* the page in which an offset lies */

static void try_map(size_t length, int flags, unsigned long offset)
{
	int fd = open_device(O_RDWR);

	watch();
	say("%s", mapped(map(NULL, length, PROT_RW, flags, fd, offset)));
	say_ran("drv");
}

/* An offset inside a page. */
static void mmap_off_unaligned(void)
{
	try_map(page, MAP_SHARED, 100);
}

/* All of the device: does it show the first page first and the last page last? */
static void mmap_full(void)
{
	int fd = open_device(O_RDWR);
	char *p;

	watch();
	p = map(NULL, whole, PROT_RW, MAP_SHARED, fd, 0);
	say("%s", mapped(p));
	if (p != MAP_FAILED) {
		say(" %s", page_name(p));
		say("..%s", page_name(p + whole - page));
	}
	say_ran("drv");
}

/* An offset: what does the mapping show, and which vm_pgoff did the driver see? */
static void mmap_off3(void)
{
	int fd = open_device(O_RDWR);
	char *p = map(NULL, 2 * page, PROT_RW, MAP_SHARED, fd, 3 * page);

	say("%s", mapped(p));
	say(" first=%s", p == MAP_FAILED ? "" : page_name(p));
	if (!device_is_memfd())
		say(" drv_saw_pgoff=%llu", (unsigned long long)driver_state().mmap_pgoff);
}

/* The last page and one more: refused by mmap, or by the touch? */
static void mmap_offlen_beyond(void)
{
	int fd = open_device(O_RDWR);
	char *p;

	watch();
	p = map(NULL, 2 * page, PROT_RW, MAP_SHARED, fd, whole - page);
	say("%s", mapped(p));
	say_ran("drv");
	if (p != MAP_FAILED) {
		say(" p0=%s", load(p));
		say(" p1=%s", load(p + page));
	}
}

/* The greatest offset that is a positive number. */
static void mmap_off_7ffff000(void)
{
	try_map(page, MAP_SHARED, FIRST_OF(0x7fffffffffffffff));
}

/* The first offset that is a negative number. */
static void mmap_off_80000000(void)
{
	try_map(page, MAP_SHARED, 0x8000000000000000);
}

/* Offset plus length is more than a number can say. */
static void mmap_off_wrap(void)
{
	try_map(2 * page, MAP_SHARED, FIRST_OF(0xffffffffffffffff));
}

/* A length that wraps when it is rounded up to pages. */
static void mmap_len_sizemax(void)
{
	try_map(SIZE_MAX, MAP_SHARED, 0);
}

/* Neither shared nor private. */
static void mmap_flags_0(void)
{
	try_map(page, 0, 0);
}

/* A type of mapping that does not exist. */
static void mmap_flags_typef(void)
{
	try_map(page, MAP_TYPE, 0);
}

/* MAP_SYNC, which a driver has to announce. */
static void mmap_validate_sync(void)
{
	try_map(page, MAP_SHARED_VALIDATE | MAP_SYNC, 0);
}

/* A flag that does not exist, where flags are checked. */
static void mmap_validate_unknown(void)
{
	try_map(page, MAP_SHARED_VALIDATE | 0x200000, 0);
}

/* A stack that is shared. */
static void mmap_growsdown_shared(void)
{
	try_map(page, MAP_SHARED | MAP_GROWSDOWN, 0);
}

/* Huge pages, of a file that has none. */
static void mmap_hugetlb(void)
{
	try_map(page, MAP_SHARED | MAP_HUGETLB, 0);
}

/* A descriptor that was never open, and one that is closed. */
static void mmap_badfd(void)
{
	int fd;

	say("%s", mapped(map(NULL, page, PROT_RW, MAP_SHARED, 999, 0)));
	fd = open_device(O_RDWR);
	close(fd);
	say(" closed:%s", mapped(map(NULL, page, PROT_RW, MAP_SHARED, fd, 0)));
}

/* A descriptor that is good for the path only. */
static void mmap_opath(void)
{
	int fd = open_device(O_PATH);

	say("%s", mapped(map(NULL, page, PROT_READ, MAP_SHARED, fd, 0)));
}

const struct row argument_rows[] = {
	ROW(mmap_off_unaligned),
	ROW(mmap_full),
	ROW(mmap_off3),
	ROW(mmap_offlen_beyond),
	ROW(mmap_off_7ffff000),
	ROW(mmap_off_80000000),
	ROW(mmap_off_wrap),
	ROW(mmap_len_sizemax),
	ROW(mmap_flags_0),
	ROW(mmap_flags_typef),
	ROW(mmap_validate_sync),
	ROW(mmap_validate_unknown),
	ROW(mmap_growsdown_shared),
	ROW(mmap_hugetlb),
	ROW(mmap_badfd),
	ROW(mmap_opath),
	{ },
};
