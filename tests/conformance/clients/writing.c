// SPDX-License-Identifier: MIT
/* write(2) and pwrite(2): what is refused before the driver is asked, and what the driver sees. */
#define _GNU_SOURCE
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "row.h"

/* The system calls themselves: the C library may know better than to pass on what rows ask. */
static long sys_write(int fd, const void *from, size_t count)
{
	return syscall(SYS_write, fd, from, count);
}

static long sys_pwrite(int fd, const void *from, size_t count, long pos)
{
	return syscall(SYS_pwrite64, fd, from, count, pos);
}

/* No byte, some, and more than the device has. */
static void write_sizes(void)
{
	int fd = open_for_use(O_WRONLY);
	char *from = buffer();

	memset(from, 'w', whole);
	watch();
	say("0=%s", amount(sys_write(fd, from, 0)));
	say_ran("drv");
	say(" 5=%s", amount(sys_write(fd, from, 5)));
	say(" landed=%c%c", driver_byte(4), driver_byte(5));
	say(" much=%s", amount(sys_write(fd, from, whole)));
	say(" full=%s", amount(sys_write(fd, from, whole)));
	say(" full,0=%s", amount(sys_write(fd, from, 0)));
	say_ran("drv");
}

/* Addresses where nothing is. */
static void write_bad_buffer(void)
{
	int fd = open_for_use(O_WRONLY);

	watch();
	say("null=%s", amount(sys_write(fd, NULL, 8)));
	say_ran("drv");
	say(" kernel=%s", amount(sys_write(fd, KERNEL_ADDRESS, 8)));
	say_ran("drv");
	say(" none=%s", amount(sys_write(fd, reserve(1), 8)));
	say_ran("drv");
	say(" null,0=%s", amount(sys_write(fd, NULL, 0)));
	say(" kernel,0=%s", amount(sys_write(fd, KERNEL_ADDRESS, 0)));
	say_ran("drv");
}

/* Counts that no buffer has: which does the driver see, and as what? */
static void write_huge_counts(void)
{
	int fd = open_for_use(O_WRONLY);
	char *from = buffer();

	watch();
	say("-1=%s", amount(sys_write(fd, from, -1)));
	say(" 2^63=%s", amount(sys_write(fd, from, 1UL << 63)));
	say(" 2^63-1=%s", amount(sys_write(fd, from, LONG_MAX)));
	say_ran("drv");
	say(" 2^40=%s", amount(sys_write(fd, from, 1UL << 40)));
	say_ran("drv");
}

/* A buffer of which the first bytes are there. */
static void write_over_edge(void)
{
	int fd = open_for_use(O_WRONLY);
	char *end = edge();

	memcpy(end - 5, "abcde", 5);
	watch();
	say("5of8=%s", amount(sys_write(fd, end - 5, 8)));
	say(" landed=%c%c", driver_byte(0), driver_byte(4));
	say(" 3of64=%s", amount(sys_write(fd, end - 3, 64)));
	say(" 0of8=%s", amount(sys_write(fd, end, 8)));
	say(" pos=%s", amount(lseek(fd, 0, SEEK_CUR)));
	say_ran("drv");
}

/* Files that were not opened for it. */
static void write_mode(void)
{
	int fd = open_for_use(O_RDONLY), path = open_device(O_PATH);

	watch();
	say("rdonly=%s", amount(sys_write(fd, "x", 1)));
	say(" null=%s", amount(sys_write(fd, NULL, 1)));
	say(" none=%s", amount(sys_write(fd, NULL, 0)));
	say(" pwrite=%s", amount(sys_pwrite(fd, "x", 1, 0)));
	say(" pwrite-1=%s", amount(sys_pwrite(fd, "x", 1, -1)));
	say(" path=%s", amount(sys_write(path, "x", 1)));
	say(" access3=%s", amount(sys_write(open_device(O_ACCMODE), "x", 1)));
	say_ran("drv");
}

/* write moves the position, pwrite does not. */
static void write_position(void)
{
	int fd = open_for_use(O_RDWR);

	watch();
	say("write=%s", amount(sys_write(fd, "abcd", 4)));
	say(" pos=%s", amount(lseek(fd, 0, SEEK_CUR)));
	say(" pwrite=%s", amount(sys_pwrite(fd, "efghi", 5, page)));
	say(" seen=%lld", driver_state().pos);
	say(" pos=%s", amount(lseek(fd, 0, SEEK_CUR)));
	say(" write=%s", amount(sys_write(fd, "jkl", 3)));
	say(" seen=%lld", driver_state().pos);
	say_ran("drv");
}

/* O_APPEND: is the driver told another position? */
static void write_append(void)
{
	int fd = open_for_use(O_RDWR | O_APPEND);
	struct iovec vector = { "q", 1 };

	watch();
	say("write=%s", amount(sys_write(fd, "abcd", 4)));
	say(" seen=%lld", driver_state().pos);
	say(" pwrite=%s", amount(sys_pwrite(fd, "e", 1, page)));
	say(" seen=%lld", driver_state().pos);
	say(" write=%s", amount(sys_write(fd, "f", 1)));
	say(" seen=%lld", driver_state().pos);
	say(" RWF_APPEND=%s", amount(pwritev2(fd, &vector, 1, 9, RWF_APPEND)));
	say_ran("drv");
}

/* O_SYNC and O_DSYNC: is the driver asked to sync? */
static void write_sync(void)
{
	int fd = open_for_use(O_RDWR | O_SYNC), data = open_device(O_RDWR | O_DSYNC);

	watch();
	say("sync=%s", amount(sys_write(fd, "abcd", 4)));
	say_ran("drv");
	say(" dsync=%s", amount(sys_write(data, "abcd", 4)));
	say_ran("drv");
}

/* Offsets that are negative, at the end, and so large that offset and count overflow. */
static void pwrite_offsets(void)
{
	int fd = open_for_use(O_RDWR);

	watch();
	say("-1=%s", amount(sys_pwrite(fd, "12345678", 8, -1)));
	say(" min=%s", amount(sys_pwrite(fd, "12345678", 8, LONG_MIN)));
	say_ran("drv");
	say(" end-4=%s", amount(sys_pwrite(fd, "12345678", 8, whole - 4)));
	say(" end=%s", amount(sys_pwrite(fd, "12345678", 8, whole)));
	say_ran("drv");
	say(" max-8=%s", amount(sys_pwrite(fd, "12345678", 8, LONG_MAX - 8)));
	say_ran("drv");
	say(" max=%s", amount(sys_pwrite(fd, "12345678", 8, LONG_MAX)));
	say_ran("drv");
}

/* Flags of pwritev2. */
static void write_flags(void)
{
	static const struct { int flag; const char *name; } flags[] = {
		{ 0, "0" }, { RWF_HIPRI, "HIPRI" }, { RWF_DSYNC, "DSYNC" }, { RWF_SYNC, "SYNC" },
		{ RWF_NOWAIT, "NOWAIT" }, { RWF_APPEND, "APPEND" }, { 0x1000, "unknown" },
	};
	int fd = open_for_use(O_WRONLY);
	struct iovec vector = { "data", 4 };
	size_t i;

	watch();
	for (i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		say(" %s=%s", flags[i].name, amount(pwritev2(fd, &vector, 1, -1, flags[i].flag)));
		say_ran("drv");
	}
	say(" at_0=%s", amount(pwritev2(fd, &vector, 1, 0, 0)));
	say(" at-2=%s", amount(pwritev2(fd, &vector, 1, -2, 0)));
	say_ran("drv");
}

const struct row writing_rows[] = {
	ROW(write_sizes),
	ROW(write_bad_buffer),
	ROW(write_huge_counts),
	ROW(write_over_edge),
	ROW(write_mode),
	ROW(write_position),
	ROW(write_append),
	ROW(write_sync),
	ROW(pwrite_offsets),
	ROW(write_flags),
	{ },
};
