// SPDX-License-Identifier: MIT
/* madvise: which advice is an error, and which loses pages. */
#define _GNU_SOURCE
#include <string.h>

#include "row.h"

/* By number: the C library's header may be older than the kernel. */
static const struct {
	const char *name;
	int number;
} advice[] = {
	{ "NORMAL", 0 }, { "RANDOM", 1 }, { "SEQUENTIAL", 2 }, { "WILLNEED", 3 }, { "DONTNEED", 4 },
	{ "FREE", 8 }, { "REMOVE", 9 }, { "DONTFORK", 10 }, { "DOFORK", 11 }, { "MERGEABLE", 12 },
	{ "UNMERGEABLE", 13 }, { "HUGEPAGE", 14 }, { "NOHUGEPAGE", 15 }, { "DONTDUMP", 16 },
	{ "DODUMP", 17 }, { "WIPEONFORK", 18 }, { "KEEPONFORK", 19 }, { "COLD", 20 },
	{ "PAGEOUT", 21 }, { "POPULATE_READ", 22 }, { "POPULATE_WRITE", 23 },
	{ "DONTNEED_LOCKED", 24 }, { "COLLAPSE", 25 }, { "BAD99", 99 },
};

/* Each advice, for a mapping that is new each time and whose first page was touched. */
static void madv_all(void)
{
	size_t i;

	for (i = 0; i < sizeof(advice) / sizeof(*advice); i++) {
		struct mapping m = map_shared(NPAGES);

		load(m.start);
		say(" %s=%s", advice[i].name, status(madvise(m.start, whole, advice[i].number)));
		munmap(m.start, whole);
		close(m.fd);
	}
}

/* After MADV_DONTNEED: is the page asked for again, is it gone, was it never dropped? */
static void madv_dontneed_refault(void)
{
	struct mapping m = map_shared(NPAGES);
	const char *read;

	m.start[0] = 'K';
	watch();
	say("%s", status(madvise(m.start, whole, MADV_DONTNEED)));
	say_ran("advise");
	read = load(m.start);
	say(" then_read=%s", read);
	if (!strcmp(read, "ok"))
		say(" kept=%d", m.start[0] == 'K');
	say_ran("touch");
}

/* MADV_POPULATE_READ of pages one of which the device does not have. */
static void madv_populate_hole(void)
{
	int fd = open_device(O_RDWR);
	char *p = map(NULL, whole + page, PROT_RW, MAP_SHARED, fd, 0);

	say("mmap:%s", mapped(p));
	if (p != MAP_FAILED)
		say(" POPULATE_READ=%s", status(madvise(p, whole + page, MADV_POPULATE_READ)));
}

const struct row advise_rows[] = {
	ROW(madv_all),
	ROW(madv_dontneed_refault),
	ROW(madv_populate_hole),
	{ },
};
