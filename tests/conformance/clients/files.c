// SPDX-License-Identifier: MIT
/* What rows about files have in common: buffers that end, a plain file, and flags as words. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "row.h"

#define FLAG(flag) { O_##flag, #flag }
#define BIT(bit) { POLL##bit, #bit }
#if defined(__x86_64__)
#define KERNEL_LARGEFILE 0100000	/* O_LARGEFILE: glibc calls it 0 where all files are large */
#else
#define KERNEL_LARGEFILE 0400000
#endif

struct word {
	unsigned long bits;
	const char *name;
};

int open_for_use(int flags)
{
	if (!strcmp(device, "ready"))
		set_mask(POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM);
	return open_device(flags);
}

char *buffer(void)
{
	return map(NULL, whole, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

char *edge(void)
{
	char *two = map(NULL, 2 * page, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(two + page, page);
	return two + page;
}

int other_file(void)
{
	int fd = memfd_create("other", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, whole) || pwrite(fd, "OTHER", 5, 0) != 5)
		exit(2);
	return fd;
}

static char *words(unsigned long bits, const struct word *known)
{
	static char texts[4][160];	/* as many may be arguments of one say() */
	static int next;
	char *text = texts[next = (next + 1) % 4], *end = text;

	*text = 0;
	for (; known->name; known++) {
		if ((bits & known->bits) != known->bits)
			continue;
		end += sprintf(end, "%s%s", end == text ? "" : "|", known->name);
		bits &= ~known->bits;
	}
	if (bits)
		end += sprintf(end, "|%#lx", bits);
	if (end == text)
		strcpy(text, "0");
	return text;
}

char *text_of_flags(unsigned long flags)
{
	static const struct word known[] = {
		FLAG(RDWR), FLAG(WRONLY), FLAG(TMPFILE), FLAG(SYNC), FLAG(DSYNC), FLAG(APPEND),
		FLAG(CREAT), FLAG(EXCL), FLAG(TRUNC), FLAG(NONBLOCK), FLAG(ASYNC), FLAG(DIRECT),
		FLAG(DIRECTORY), FLAG(NOFOLLOW), FLAG(NOATIME), FLAG(NOCTTY), FLAG(CLOEXEC),
		FLAG(PATH), { KERNEL_LARGEFILE, "LARGEFILE" }, { },
	};

	return words(flags, known);
}

char *text_of_mask(unsigned int mask)
{
	static const struct word known[] = {
		BIT(IN), BIT(PRI), BIT(OUT), BIT(ERR), BIT(HUP), BIT(NVAL), BIT(RDNORM), BIT(RDBAND),
		BIT(WRNORM), BIT(WRBAND), BIT(MSG), BIT(RDHUP), { },
	};

	return words(mask, known);
}

void set_mask(unsigned int mask)
{
	if (tell_driver(REF_MASK, mask)) {
		say(" REF_MASK:%s", error_name(errno));
		exit(2);
	}
}
