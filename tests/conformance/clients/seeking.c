// SPDX-License-Identifier: MIT
/* lseek(2), and calls that are about the contents of a file: what is said of a device? */
#define _GNU_SOURCE
#include <limits.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>

#include "row.h"

static long sys_lseek(int fd, long offset, unsigned int whence)
{
	return syscall(SYS_lseek, fd, offset, whence);
}

/* Each whence. */
static void lseek_whence(void)
{
	int fd = open_for_use(O_RDWR);

	watch();
	say("set=%s", amount(sys_lseek(fd, 100, SEEK_SET)));
	say(" cur=%s", amount(sys_lseek(fd, 5, SEEK_CUR)));
	say(" cur0=%s", amount(sys_lseek(fd, 0, SEEK_CUR)));
	say(" end=%s", amount(sys_lseek(fd, -1, SEEK_END)));
	say(" data=%s", amount(sys_lseek(fd, 0, SEEK_DATA)));
	say(" hole=%s", amount(sys_lseek(fd, 0, SEEK_HOLE)));
	say(" 5=%s", amount(sys_lseek(fd, 0, 5)));
	say(" -1=%s", amount(sys_lseek(fd, 0, -1)));
	say_ran("drv");
}

/* Offsets before the beginning and behind the end: the position stays where it was. */
static void lseek_bounds(void)
{
	int fd = open_for_use(O_RDWR);

	watch();
	say("10=%s", amount(sys_lseek(fd, 10, SEEK_SET)));
	say(" -1=%s", amount(sys_lseek(fd, -1, SEEK_SET)));
	say(" cur-11=%s", amount(sys_lseek(fd, -11, SEEK_CUR)));
	say(" end=%s", amount(sys_lseek(fd, 0, SEEK_END)));
	say(" end+1=%s", amount(sys_lseek(fd, 1, SEEK_END)));
	say(" max=%s", amount(sys_lseek(fd, LONG_MAX, SEEK_SET)));
	say(" min=%s", amount(sys_lseek(fd, LONG_MIN, SEEK_SET)));
	say(" cur+max=%s", amount(sys_lseek(fd, LONG_MAX, SEEK_CUR)));
	say(" pos=%s", amount(sys_lseek(fd, 0, SEEK_CUR)));
	say_ran("drv");
}

/* Which files share a position: those that are one open file. */
static void lseek_shared(void)
{
	int fd = open_for_use(O_RDWR), twin = dup(fd), other = open_device(O_RDWR);

	sys_lseek(fd, 7, SEEK_SET);
	say("dup=%s", amount(sys_lseek(twin, 0, SEEK_CUR)));
	say(" other=%s", amount(sys_lseek(other, 0, SEEK_CUR)));
	if (!fork())
		_exit(sys_lseek(fd, 9, SEEK_SET) < 0);
	wait(NULL);
	say(" after_child=%s", amount(sys_lseek(twin, 0, SEEK_CUR)));
	say(" path=%s", amount(sys_lseek(open_device(O_PATH), 0, SEEK_CUR)));
	say(" wronly=%s", amount(sys_lseek(open_device(O_WRONLY), 0, SEEK_CUR)));
}

/* Its length can't be set, and there is no room to be had or given back. */
static void length_calls(void)
{
	int fd = open_for_use(O_RDWR);

	watch();
	say("ftruncate=%s", status(ftruncate(fd, 0)));
	say(" -1=%s", status(ftruncate(fd, -1)));
	say(" rdonly=%s", status(ftruncate(open_device(O_RDONLY), 0)));
	say(" truncate=%s", status(truncate(device_path(), 0)));
	say(" fallocate=%s", status(syscall(SYS_fallocate, fd, 0, 0L, 100L)));
	say(" punch=%s", status(syscall(SYS_fallocate, fd, 3, 0L, 100L)));
	say(" mode=%s", status(syscall(SYS_fallocate, fd, 0x1000, 0L, 100L)));
	say(" len0=%s", status(syscall(SYS_fallocate, fd, 0, 0L, 0L)));
	say(" rdonly=%s", status(syscall(SYS_fallocate, open_device(O_RDONLY), 0, 0L, 100L)));
	say_ran("drv");
}

/* Advice about reading ahead. */
static void advice_calls(void)
{
	int fd = open_for_use(O_RDWR);
	int advice;

	watch();
	for (advice = 0; advice < 8; advice++)
		say(" %d=%s", advice, status(syscall(SYS_fadvise64, fd, 0L, 100L, advice)));
	say(" len-1=%s", status(syscall(SYS_fadvise64, fd, 0L, -1L, 0)));
	say(" path=%s", status(syscall(SYS_fadvise64, open_device(O_PATH), 0L, 1L, 0)));
	say(" readahead=%s", status(syscall(SYS_readahead, fd, 0L, 100L)));
	say(" wronly=%s", status(syscall(SYS_readahead, open_device(O_WRONLY), 0L, 100L)));
	say_ran("drv");
}

/* Bringing what was written to where it is kept. */
static void sync_calls(void)
{
	int fd = open_for_use(O_RDWR);

	watch();
	say("fsync=%s", status(fsync(fd)));
	say_ran("drv");
	say(" fdatasync=%s", status(fdatasync(fd)));
	say_ran("drv");
	say(" rdonly=%s", status(fsync(open_device(O_RDONLY))));
	say(" path=%s", status(fsync(open_device(O_PATH))));
	say(" range=%s", status(sync_file_range(fd, 0, 100, SYNC_FILE_RANGE_WRITE)));
	say(" range_flags=%s", status(sync_file_range(fd, 0, 100, 0x100)));
	say(" range-1=%s", status(sync_file_range(fd, -1, 100, 0)));
	say(" syncfs=%s", status(syncfs(fd)));
	say(" syncfs_path=%s", status(syncfs(open_device(O_PATH))));
	say_ran("drv");
}

/* From a device, by calls that move data in the kernel. */
static void transfer_from(void)
{
	int fd = open_for_use(O_RDONLY), file = other_file(), ends[2];
	off_t at = 0;

	if (pipe(ends))
		return;
	watch();
	say("sendfile=%s", amount(sendfile(file, fd, NULL, 5)));
	say(" pipe=%s", amount(sendfile(ends[1], fd, NULL, 5)));
	say(" at=%s", amount(sendfile(file, fd, &at, 5)));
	say(" splice=%s", amount(splice(fd, NULL, ends[1], NULL, 5, 0)));
	say(" at=%s", amount(splice(fd, &at, ends[1], NULL, 5, 0)));
	say(" to_file=%s", amount(splice(fd, NULL, file, NULL, 5, 0)));
	say(" copy=%s", amount(copy_file_range(fd, NULL, file, NULL, 5, 0)));
	say(" tee=%s", amount(tee(fd, ends[1], 5, 0)));
	say(" vmsplice=%s", amount(vmsplice(fd, &(struct iovec){ &at, 5 }, 1, 0)));
	say_ran("drv");
}

/* To a device. */
static void transfer_to(void)
{
	int fd = open_for_use(O_WRONLY), file = other_file(), ends[2];
	off_t at = 0;

	if (pipe(ends) || write(ends[1], "PIPED", 5) != 5)
		return;
	watch();
	say("sendfile=%s", amount(sendfile(fd, file, NULL, 5)));
	say(" splice=%s", amount(splice(ends[0], NULL, fd, NULL, 5, 0)));
	say(" at=%s", amount(splice(ends[0], NULL, fd, &at, 5, 0)));
	say(" rdonly=%s", amount(splice(ends[0], NULL, open_device(O_RDONLY), NULL, 5, 0)));
	say(" copy=%s", amount(copy_file_range(file, NULL, fd, NULL, 5, 0)));
	say(" tee=%s", amount(tee(ends[0], fd, 5, 0)));
	say(" byte=%c", driver_byte(0));
	say_ran("drv");
}

const struct row seeking_rows[] = {
	ROW(lseek_whence),
	ROW(lseek_bounds),
	ROW(lseek_shared),
	ROW(length_calls),
	ROW(advice_calls),
	ROW(sync_calls),
	ROW(transfer_from),
	ROW(transfer_to),
	{ },
};
