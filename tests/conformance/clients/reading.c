// SPDX-License-Identifier: MIT
/* read(2) and pread(2): what is refused before the driver is asked, and what the driver sees. */
#define _GNU_SOURCE
#include <limits.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "row.h"

/* The system calls themselves: the C library may know better than to pass on what rows ask. */
static long sys_read(int fd, void *to, size_t count)
{
	return syscall(SYS_read, fd, to, count);
}

static long sys_pread(int fd, void *to, size_t count, long pos)
{
	return syscall(SYS_pread64, fd, to, count, pos);
}

/* No byte, one, some, and more than there are. */
static void read_sizes(void)
{
	int fd = open_for_use(O_RDONLY);
	char *to = buffer();

	watch();
	say("0=%s", amount(sys_read(fd, to, 0)));
	say_ran("drv");
	say(" 1=%s", amount(sys_read(fd, to, 1)));
	say(" 5=%s", amount(sys_read(fd, to, 5)));
	say(" first=%.5s", to);
	say(" much=%s", amount(sys_read(fd, to, whole)));
	say(" at_end=%s", amount(sys_read(fd, to, whole)));
	say_ran("drv");
}

/* Addresses where nothing can be put. */
static void read_bad_buffer(void)
{
	int fd = open_for_use(O_RDONLY);

	watch();
	say("null=%s", amount(sys_read(fd, NULL, 8)));
	say_ran("drv");
	say(" kernel=%s", amount(sys_read(fd, KERNEL_ADDRESS, 8)));
	say_ran("drv");
	say(" none=%s", amount(sys_read(fd, reserve(1), 8)));
	say_ran("drv");
	say(" code=%s", amount(sys_read(fd, (void *)read_bad_buffer, 8)));
	say_ran("drv");
}

/* The same when nothing is to be put there. */
static void read_nothing_nowhere(void)
{
	int fd = open_for_use(O_RDONLY);

	watch();
	say("null=%s", amount(sys_read(fd, NULL, 0)));
	say_ran("drv");
	say(" kernel=%s", amount(sys_read(fd, KERNEL_ADDRESS, 0)));
	say_ran("drv");
}

/* Counts that no buffer has: which does the driver see, and as what? */
static void read_huge_counts(void)
{
	int fd = open_for_use(O_RDONLY);
	char *to = buffer();

	watch();
	say("-1=%s", amount(sys_read(fd, to, -1)));
	say_ran("drv");
	say(" 2^63=%s", amount(sys_read(fd, to, 1UL << 63)));
	say_ran("drv");
	say(" 2^63-1=%s", amount(sys_read(fd, to, LONG_MAX)));
	say_ran("drv");
	say(" 2^40=%s", amount(sys_read(fd, to, 1UL << 40)));
	say(" seen=%#llx", driver_state().count);
	say_ran("drv");
	say(" 2^31=%s", amount(sys_read(fd, to, 1UL << 31)));
	say(" seen=%#llx", driver_state().count);
	say_ran("drv");
}

/* A buffer of which the first bytes are there. */
static void read_over_edge(void)
{
	int fd = open_for_use(O_RDONLY);
	char *end = edge();

	watch();
	say("5of8=%s", amount(sys_read(fd, end - 5, 8)));
	say(" landed=%.5s", end - 5);
	say(" 3of64=%s", amount(sys_read(fd, end - 3, 64)));
	say(" 0of8=%s", amount(sys_read(fd, end, 8)));
	say(" pos=%s", amount(lseek(fd, 0, SEEK_CUR)));
	say_ran("drv");
}

/* Files that were not opened for it. */
static void read_mode(void)
{
	int fd = open_for_use(O_WRONLY), path = open_device(O_PATH);
	char byte;

	watch();
	say("wronly=%s", amount(sys_read(fd, &byte, 1)));
	say(" null=%s", amount(sys_read(fd, NULL, 1)));
	say(" none=%s", amount(sys_read(fd, NULL, 0)));
	say(" pread=%s", amount(sys_pread(fd, &byte, 1, 0)));
	say(" pread-1=%s", amount(sys_pread(fd, &byte, 1, -1)));
	say(" path=%s", amount(sys_read(path, &byte, 1)));
	say(" pread_path=%s", amount(sys_pread(path, &byte, 1, 0)));
	say_ran("drv");
}

/* read moves the position, pread does not. */
static void read_position(void)
{
	int fd = open_for_use(O_RDONLY);
	char to[8];

	watch();
	say("read=%s", amount(sys_read(fd, to, 4)));
	say(" pos=%s", amount(lseek(fd, 0, SEEK_CUR)));
	say(" pread=%s", amount(sys_pread(fd, to, 5, page)));
	say(" seen=%lld", driver_state().pos);
	say(" pos=%s", amount(lseek(fd, 0, SEEK_CUR)));
	say(" read=%s", amount(sys_read(fd, to, 3)));
	say(" seen=%lld", driver_state().pos);
	say_ran("drv");
}

/* Offsets that are negative, at the end, and so large that offset and count overflow. */
static void pread_offsets(void)
{
	int fd = open_for_use(O_RDONLY);
	char to[8];

	watch();
	say("-1=%s", amount(sys_pread(fd, to, 8, -1)));
	say(" min=%s", amount(sys_pread(fd, to, 8, LONG_MIN)));
	say_ran("drv");
	say(" end-4=%s", amount(sys_pread(fd, to, 8, whole - 4)));
	say(" end=%s", amount(sys_pread(fd, to, 8, whole)));
	say(" 2^40=%s", amount(sys_pread(fd, to, 8, 1L << 40)));
	say_ran("drv");
	say(" max-8=%s", amount(sys_pread(fd, to, 8, LONG_MAX - 8)));
	say_ran("drv");
	say(" max=%s", amount(sys_pread(fd, to, 8, LONG_MAX)));
	say_ran("drv");
	say(" max,0=%s", amount(sys_pread(fd, to, 0, LONG_MAX)));
	say_ran("drv");
}

/* pread where nothing can be put, at an offset that can't be: which comes first? */
static void pread_bad_buffer(void)
{
	int fd = open_for_use(O_RDONLY);

	watch();
	say("kernel=%s", amount(sys_pread(fd, KERNEL_ADDRESS, 8, 0)));
	say(" kernel,-1=%s", amount(sys_pread(fd, KERNEL_ADDRESS, 8, -1)));
	say(" null=%s", amount(sys_pread(fd, NULL, 8, 0)));
	say(" count-1=%s", amount(sys_pread(fd, NULL, -1, 0)));
	say_ran("drv");
}

/* Flags of preadv2. */
static void read_flags(void)
{
	static const struct { int flag; const char *name; } flags[] = {
		{ 0, "0" }, { RWF_HIPRI, "HIPRI" }, { RWF_DSYNC, "DSYNC" }, { RWF_SYNC, "SYNC" },
		{ RWF_NOWAIT, "NOWAIT" }, { RWF_APPEND, "APPEND" }, { 0x1000, "unknown" },
	};
	int fd = open_for_use(O_RDONLY);
	char to[8];
	struct iovec vector = { to, 4 };
	size_t i;

	watch();
	for (i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		say(" %s=%s", flags[i].name, amount(preadv2(fd, &vector, 1, -1, flags[i].flag)));
		say_ran("drv");
	}
	say(" at_0=%s", amount(preadv2(fd, &vector, 1, 0, 0)));
	say(" at-2=%s", amount(preadv2(fd, &vector, 1, -2, 0)));
	say_ran("drv");
}

const struct row reading_rows[] = {
	ROW(read_sizes),
	ROW(read_bad_buffer),
	ROW(read_nothing_nowhere),
	ROW(read_huge_counts),
	ROW(read_over_edge),
	ROW(read_mode),
	ROW(read_position),
	ROW(pread_offsets),
	ROW(pread_bad_buffer),
	ROW(read_flags),
	{ },
};
