// SPDX-License-Identifier: MIT
/* readv(2), writev(2) and their kin: how vectors are checked, and what the driver sees of them. */
#define _GNU_SOURCE
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "row.h"

static long sys_readv(int fd, const struct iovec *vector, long count)
{
	return syscall(SYS_readv, fd, vector, count);
}

static long sys_writev(int fd, const struct iovec *vector, long count)
{
	return syscall(SYS_writev, fd, vector, count);
}

/* Three buffers, the last larger than what may be left. */
static void readv_parts(void)
{
	int fd = open_for_use(O_RDONLY);
	char *to = buffer();
	struct iovec parts[] = { { to, 3 }, { to + 3, 3 }, { to + 6, 100 } };

	watch();
	say("readv=%s", amount(sys_readv(fd, parts, 3)));
	say(" data=%.6s", to);
	say(" pos=%s", amount(lseek(fd, 0, SEEK_CUR)));
	say_ran("drv");
	say(" preadv=%s", amount(preadv(fd, parts, 3, page)));
	say(" at_end=%s", amount(preadv(fd, parts, 3, whole - 5)));
	say_ran("drv");
}

static void writev_parts(void)
{
	int fd = open_for_use(O_WRONLY);
	struct iovec parts[] = { { "abc", 3 }, { "def", 3 }, { "ghijklmnopqrst", 14 } };

	watch();
	say("writev=%s", amount(sys_writev(fd, parts, 3)));
	say(" landed=%c%c", driver_byte(0), driver_byte(5));
	say(" pos=%s", amount(lseek(fd, 0, SEEK_CUR)));
	say_ran("drv");
	say(" pwritev=%s", amount(pwritev(fd, parts, 3, page)));
	say(" at_end=%s", amount(pwritev(fd, parts, 3, whole - 4)));
	say_ran("drv");
}

/* How many buffers there may be. */
static void vector_counts(void)
{
	static struct iovec many[IOV_MAX + 1];
	int fd = open_for_use(O_RDWR);

	watch();
	say("readv:0=%s", amount(sys_readv(fd, many, 0)));
	say(" null,0=%s", amount(sys_readv(fd, NULL, 0)));
	say(" kernel,0=%s", amount(sys_readv(fd, (void *)KERNEL_ADDRESS, 0)));
	say(" all=%s", amount(sys_readv(fd, many, IOV_MAX)));
	say(" more=%s", amount(sys_readv(fd, many, IOV_MAX + 1)));
	say(" -1=%s", amount(sys_readv(fd, many, -1)));
	say(" writev:0=%s", amount(sys_writev(fd, many, 0)));
	say(" all=%s", amount(sys_writev(fd, many, IOV_MAX)));
	say(" more=%s", amount(sys_writev(fd, many, IOV_MAX + 1)));
	say_ran("drv");
}

/* Buffers without bytes are not the driver's business. */
static void vector_empty_parts(void)
{
	int fd = open_for_use(O_RDWR);
	char to[8];
	struct iovec parts[] = { { NULL, 0 }, { to, 2 }, { NULL, 0 }, { to, 2 }, { KERNEL_ADDRESS, 0 } };

	watch();
	say("readv=%s", amount(sys_readv(fd, parts, 4)));
	say_ran("drv");
	say(" writev=%s", amount(sys_writev(fd, parts, 4)));
	say_ran("drv");
	say(" first=%s", amount(sys_readv(fd, parts, 1)));
	say_ran("drv");
	say(" kernel=%s", amount(sys_readv(fd, parts, 5)));
	say_ran("drv");
}

/* A buffer that is not there, first and second: is the driver asked for the one before it? */
static void readv_bad_part(void)
{
	int fd = open_for_use(O_RDONLY);
	char to[8];
	struct iovec null[] = { { to, 4 }, { NULL, 4 } }, kernel[] = { { to, 4 }, { KERNEL_ADDRESS, 4 } };
	struct iovec first[] = { { reserve(1), 4 }, { to, 4 } };

	watch();
	say("null=%s", amount(sys_readv(fd, null, 2)));
	say_ran("drv");
	say(" kernel=%s", amount(sys_readv(fd, kernel, 2)));
	say_ran("drv");
	say(" first=%s", amount(sys_readv(fd, first, 2)));
	say_ran("drv");
	say(" vector=%s", amount(sys_readv(fd, NULL, 1)));
	say(" kernel=%s", amount(sys_readv(fd, (void *)KERNEL_ADDRESS, 1)));
	say_ran("drv");
}

static void writev_bad_part(void)
{
	int fd = open_for_use(O_WRONLY);
	struct iovec null[] = { { "1234", 4 }, { NULL, 4 } };
	struct iovec kernel[] = { { "1234", 4 }, { KERNEL_ADDRESS, 4 } };
	struct iovec first[] = { { reserve(1), 4 }, { "1234", 4 } };

	watch();
	say("null=%s", amount(sys_writev(fd, null, 2)));
	say_ran("drv");
	say(" kernel=%s", amount(sys_writev(fd, kernel, 2)));
	say_ran("drv");
	say(" first=%s", amount(sys_writev(fd, first, 2)));
	say_ran("drv");
	say(" vector=%s", amount(sys_writev(fd, NULL, 1)));
	say_ran("drv");
}

/* A vector that lies over the end of what is there. */
static void vector_over_edge(void)
{
	int fd = open_for_use(O_RDWR);
	struct iovec *vector = (struct iovec *)edge() - 1;
	char to[8];

	*vector = (struct iovec){ to, 4 };
	watch();
	say("one=%s", amount(sys_readv(fd, vector, 1)));
	say(" two=%s", amount(sys_readv(fd, vector, 2)));
	say(" write_two=%s", amount(sys_writev(fd, vector, 2)));
	say_ran("drv");
}

/* Lengths that are negative, or too large together. */
static void vector_lengths(void)
{
	int fd = open_for_use(O_RDWR);
	char *to = buffer();
	struct iovec negative[] = { { to, 4 }, { to, -1 } }, sum[] = { { to, LONG_MAX }, { to, 4 } };
	struct iovec large[] = { { to, 4 }, { to + 4, 1UL << 32 }, { to, 4 } };

	watch();
	say("-1=%s", amount(sys_readv(fd, negative, 2)));
	say(" max=%s", amount(sys_readv(fd, sum, 2)));
	say(" write-1=%s", amount(sys_writev(fd, negative, 2)));
	say_ran("drv");
	say(" 2^32=%s", amount(sys_readv(fd, large, 3)));
	say(" seen=%#llx", driver_state().count);
	say_ran("drv");
}

/* Files that were not opened for it, and offsets that are none. */
static void vector_mode_and_offset(void)
{
	int fd = open_for_use(O_RDWR);
	char to[8];
	struct iovec vector = { to, 4 };

	watch();
	say("wronly=%s", amount(sys_readv(open_device(O_WRONLY), &vector, 1)));
	say(" rdonly=%s", amount(sys_writev(open_device(O_RDONLY), &vector, 1)));
	say(" wronly,null=%s", amount(sys_readv(open_device(O_WRONLY), NULL, -1)));
	say(" path=%s", amount(sys_readv(open_device(O_PATH), &vector, 1)));
	say(" preadv-1=%s", amount(preadv(fd, &vector, 1, -1)));
	say(" pwritev-1=%s", amount(pwritev(fd, &vector, 1, -1)));
	say(" preadv,0=%s", amount(preadv(fd, &vector, 0, 0)));
	say(" preadv_max=%s", amount(preadv(fd, &vector, 1, LONG_MAX)));
	say_ran("drv");
}

const struct row vector_rows[] = {
	ROW(readv_parts),
	ROW(writev_parts),
	ROW(vector_counts),
	ROW(vector_empty_parts),
	ROW(readv_bad_part),
	ROW(writev_bad_part),
	ROW(vector_over_edge),
	ROW(vector_lengths),
	ROW(vector_mode_and_offset),
	{ },
};
