// SPDX-License-Identifier: MIT
/*
 * Attributes in /sys: files of the unit of the device "sensor". Each read of "text" from its beginning
 * gives another number, so that is seen when the driver is asked.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "row.h"

#define UNIT "/sys/class/ref_class/ref_unit"

static int attribute(const char *name, int flags)
{
	char path[128];

	snprintf(path, sizeof(path), UNIT "/%s", name);
	return open(path, flags);
}

/* What came of a read: its amount, and how it begins. */
static void say_read(const char *tag, long count, const char *data)
{
	say(" %s=%s", tag, amount(count));
	if (count > 0)
		say(":%.*s", (int)(count < 6 ? count : 6), data);
}

/* The text comes in pieces of one show; from the beginning, and after a jump, it is another. */
static void attr_read_pieces(void)
{
	int fd = attribute("text", O_RDONLY);
	char data[200];

	watch();
	say_read("4", read(fd, data, 4), data);
	say_read("6", read(fd, data, 6), data);
	say_read("rest", read(fd, data, 200), data);
	say_read("end", read(fd, data, 200), data);
	say_ran("drv");
	say_read("at0", pread(fd, data, 4, 0), data);
	say_read("at4", pread(fd, data, 4, 4), data);
	say_read("at8", pread(fd, data, 4, 8), data);
	say_read("at8", pread(fd, data, 4, 8), data);
	say_ran("drv");
	say_read("at5000", pread(fd, data, 4, 5000), data);
	say_read("at-1", pread(fd, data, 4, -1), data);
	say_read("0", read(fd, data, 0), data);
	say_ran("drv");
}

/* Seeks, as in a file of a page. */
static void attr_seek(void)
{
	int fd = attribute("text", O_RDONLY), bytes = attribute("bytes", O_RDONLY);
	int endless = attribute("endless", O_RDONLY);
	char data[200];

	watch();
	say("end=%s", amount(lseek(fd, 0, SEEK_END)));
	say_read("there", read(fd, data, 4), data);
	say(" 2=%s", amount(lseek(fd, 2, SEEK_SET)));
	say_read("there", read(fd, data, 4), data);
	say(" cur=%s", amount(lseek(fd, 0, SEEK_CUR)));
	say(" -1=%s", amount(lseek(fd, -1, SEEK_SET)));
	say(" data=%s", amount(lseek(fd, 0, SEEK_DATA)));
	say(" hole=%s", amount(lseek(fd, 0, SEEK_HOLE)));
	say(" whence=%s", amount(lseek(fd, 0, 9)));
	say(" bytes_end=%s", amount(lseek(bytes, 0, SEEK_END)));
	say(" beyond=%s", amount(lseek(bytes, 1000, SEEK_SET)));
	say(" endless_end=%s", amount(lseek(endless, 0, SEEK_END)));
	say_ran("drv");
}

/* A write is one store, whatever its offset. */
static void attr_write(void)
{
	static char much[9000];
	int fd = attribute("text", O_RDWR);
	struct iovec parts[] = { { "ab", 2 }, { NULL, 0 }, { "cde", 3 } };

	memset(much, 'm', sizeof(much));
	watch();
	say("3=%s", amount(write(fd, "abc", 3)));
	say(" byte=%c", driver_byte(2));
	say(" 0=%s", amount(write(fd, "", 0)));
	say_ran("drv");
	say(" at100=%s", amount(pwrite(fd, "xyz", 3, 100)));
	say(" byte=%c", driver_byte(0));
	say(" pos=%s", amount(lseek(fd, 0, SEEK_CUR)));
	say_ran("drv");
	say(" page=%s", amount(write(fd, much, 4096)));
	say(" got=%lld", (long long)driver_state().count);
	say(" page+1=%s", amount(write(fd, much, 4097)));
	say(" got=%lld", (long long)driver_state().count);
	say(" 9000=%s", amount(write(fd, much, 9000)));
	say(" got=%lld", (long long)driver_state().count);
	say(" pos=%s", amount(lseek(fd, 0, SEEK_CUR)));
	say_ran("drv");
	say(" writev=%s", amount(writev(fd, parts, 3)));
	say(" got=%lld", (long long)driver_state().count);
	say(" bad=%s", amount(write(fd, KERNEL_ADDRESS, 3)));
	say(" append=%s", amount(write(attribute("text", O_WRONLY | O_APPEND), "q", 1)));
	say(" trunc=%s", amount(write(attribute("text", O_WRONLY | O_TRUNC), "r", 1)));
	say(" order=%s", amount(write(attribute("order", O_WRONLY), "now", 3)));
	say_ran("drv");
}

/* What the driver answers: errors, fewer bytes than there were, more than fit. */
static void attr_results(void)
{
	static const long codes[] = { -EBUSY, -EAGAIN, -ENODEV, -EINVAL, -ENOMEM, -EIO };
	int fd = attribute("text", O_RDWR);
	char data[9000];
	size_t i;

	for (i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
		tell_driver(REF_RETURN, codes[i]);
		say(" %s", amount(pread(fd, data, 10, 0)));
		say(",%s", amount(write(fd, "x", 1)));
	}
	tell_driver(REF_RETURN, 2);
	say(" 2=%s", amount(write(fd, "12345", 5)));
	say_read("2", pread(fd, data, 100, 0), data);
	tell_driver(REF_RETURN, 4095);
	say(" 4095=%s", amount(pread(fd, data, 9000, 0)));
	tell_driver(REF_RETURN, 4096);
	say(" 4096=%s", amount(pread(fd, data, 9000, 0)));
	tell_driver(REF_RETURN, 0);
}

/* A read that goes wrong between two that don't. */
static void attr_read_after_error(void)
{
	int fd = attribute("text", O_RDONLY);
	char data[100];

	watch();
	tell_driver(REF_RETURN, -EBUSY);
	say("busy=%s", amount(read(fd, data, 4)));
	say(" again=%s", amount(read(fd, data, 4)));
	tell_driver(REF_RETURN, 0);
	say_read("then", read(fd, data, 4), data);
	say_read("bad", read(fd, KERNEL_ADDRESS, 4), data);
	say_read("then", read(fd, data, 4), data);
	say_ran("drv");
}

static void say_open(const char *tag, const char *name, int flags)
{
	int fd = attribute(name, flags);

	say(" %s=%s", tag, fd < 0 ? error_name(errno) : "OK");
	if (fd >= 0)
		close(fd);
}

/* Who opens may only do what the mode allows, root included. */
static void attr_open(void)
{
	watch();
	say_open("rdwr", "text", O_RDWR);
	say_open("fixed_w", "fixed", O_WRONLY);
	say_open("fixed_rw", "fixed", O_RDWR);
	say_open("order_r", "order", O_RDONLY);
	say_open("order_w", "order", O_WRONLY);
	say_open("3", "text", 3);
	say_open("excl", "text", O_CREAT | O_EXCL | O_RDWR);
	say_open("creat", "text", O_CREAT | O_RDWR);
	say_open("new", "nothing", O_CREAT | O_RDWR);
	say_open("dir", "text", O_RDONLY | O_DIRECTORY);
	say_open("direct", "text", O_RDONLY | O_DIRECT);
	say_open("nofollow", "subsystem", O_RDONLY | O_NOFOLLOW);
	say_open("slash", "text/", O_RDONLY);
	say_open("below", "text/x", O_RDONLY);
	say_open("group", "group", O_RDONLY);
	say_open("group_w", "group", O_RDWR);
	say_open("tmpfile", "group", O_TMPFILE | O_RDWR);
	say_open("path", "order", O_PATH);
	say_open("noatime", "fixed", O_RDONLY | O_NOATIME);
	say_open("endless_w", "endless", O_WRONLY);
	say_ran("drv");
}

/* Names that can't be changed. */
static void attr_names(void)
{
	say("unlink=%s", status(unlink(UNIT "/text")));
	say(" rmdir=%s", status(rmdir(UNIT "/group")));
	say(" mkdir=%s", status(mkdir(UNIT "/new", 0755)));
	say(" mkdir_there=%s", status(mkdir(UNIT "/text", 0755)));
	say(" rename=%s", status(rename(UNIT "/text", UNIT "/other")));
	say(" link=%s", status(link(UNIT "/text", UNIT "/other")));
	say(" symlink=%s", status(symlink("text", UNIT "/other")));
	say(" mknod=%s", status(mknod(UNIT "/other", S_IFIFO | 0600, 0)));
	say(" exec=%s", status(execl(UNIT "/text", "text", NULL)));
	say(" truncate=%s", status(truncate(UNIT "/text", 0)));
	say(" chdir=%s", status(chdir(UNIT "/text")));
}

/* Calls of files that are about more than reading and writing. */
static void attr_calls(void)
{
	int fd = attribute("text", O_RDWR), ends[2];
	char data[200];
	struct iovec parts[] = { { data, 2 }, { data + 2, 6 } };

	if (pipe(ends))
		return;
	watch();
	say_read("preadv", preadv(fd, parts, 2, 0), data);
	say(" mmap=%s", mapped(map(NULL, page, PROT_READ, MAP_SHARED, fd, 0)));
	say(" private=%s", mapped(map(NULL, page, PROT_READ, MAP_PRIVATE, fd, 0)));
	say(" ioctl=%s", status(ioctl(fd, 0x1234)));
	say(" fionread=%s", status(ioctl(fd, FIONREAD, data)));
	say(" fsync=%s", status(fsync(fd)));
	say(" ftruncate=%s", status(ftruncate(fd, 5)));
	say(" fallocate=%s", status(syscall(SYS_fallocate, fd, 0, 0L, 10L)));
	say(" splice=%s", amount(splice(fd, &(off_t){ 0 }, ends[1], NULL, 4, 0)));
	say(" sendfile=%s", amount(sendfile(ends[1], fd, &(off_t){ 0 }, 4)));
	say(" splice_to=%s", amount(splice(ends[0], NULL, fd, NULL, 4, 0)));
	say(" copy=%s", amount(copy_file_range(fd, &(off_t){ 0 }, other_file(), NULL, 4, 0)));
	say(" readahead=%s", status(syscall(SYS_readahead, fd, 0L, 10L)));
	say(" flock=%s", status(fcntl(fd, F_SETLK, &(struct flock){ .l_type = F_WRLCK })));
	say(" lease=%s", status(fcntl(fd, F_SETLEASE, F_RDLCK)));
	say_ran("drv");
}

/* What stat says. */
static void attr_stat(void)
{
	static const char *const names[] = {
		"text", "fixed", "order", "bytes", "endless", "group", "group/inner", "uevent", "dev",
		"power", "subsystem", ".",
	};
	struct stat found;
	char path[128];
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), UNIT "/%s", names[i]);
		if (lstat(path, &found))
			say(" %s:%s", names[i], error_name(errno));
		else
			say(" %s:%o,%lld", names[i], found.st_mode, (long long)found.st_size);
	}
	stat(UNIT "/text", &found);
	say(" blksize=%ld blocks=%ld nlink=%ld uid=%d", (long)found.st_blksize, (long)found.st_blocks,
	    (long)found.st_nlink, (int)found.st_uid);
}

/* What poll says: ready for priority data until it is read, and after each store. */
static void attr_poll(void)
{
	struct pollfd one = { .fd = attribute("text", O_RDONLY), .events = POLLIN | POLLOUT | POLLPRI };
	struct pollfd pri = { .fd = one.fd, .events = POLLPRI };
	int writer = attribute("text", O_WRONLY);
	char data[100];

	say("new=%d", poll(&one, 1, 0));
	say(":%s", text_of_mask(one.revents));
	say(" read=%s", amount(pread(one.fd, data, 4, 0)));
	say(" then=%d", poll(&one, 1, 0));
	say(":%s", text_of_mask(one.revents));
	say(" pri=%d", poll(&pri, 1, 0));
	say(" write=%s", amount(write(writer, "x", 1)));
	say(" notified=%d", poll(&pri, 1, 5000));
	say(":%s", text_of_mask(pri.revents));
	say(" still=%d", poll(&pri, 1, 0));
	say(" read=%s", amount(pread(one.fd, data, 4, 0)));
	say(" then=%d", poll(&pri, 1, 0));
	pri.fd = attribute("bytes", O_RDONLY);
	say(" bytes=%d", poll(&pri, 1, 0));
}

/* A file of bytes: its end, and a page at a time. */
static void attr_bytes(void)
{
	int fd = attribute("bytes", O_RDWR), endless = attribute("endless", O_RDONLY);
	static char data[9000];

	watch();
	say_read("all", read(fd, data, 9000), data);
	say(" asked=%lld", (long long)driver_state().count);
	say_read("end", read(fd, data, 10), data);
	say_ran("drv");
	say_read("at60", pread(fd, data, 10, 60), data);
	say(" asked=%lld", (long long)driver_state().count);
	say_read("at64", pread(fd, data, 10, 64), data);
	say_read("at100", pread(fd, data, 10, 100), data);
	say_ran("drv");
	say(" write=%s", amount(pwrite(fd, "0123456789", 10, 60)));
	say(" asked=%lld", (long long)driver_state().count);
	say(" at64=%s", amount(pwrite(fd, "x", 1, 64)));
	say(" at65=%s", amount(pwrite(fd, "x", 1, 65)));
	say(" 0=%s", amount(pwrite(fd, "x", 0, 0)));
	say_ran("drv");
	say_read("endless", pread(endless, data, 9000, 0), data);
	say(" asked=%lld", (long long)driver_state().count);
	say_read("at99", pread(endless, data, 10, 99), data);
	say_read("at100", pread(endless, data, 10, 100), data);
	say_ran("drv");
	tell_driver(REF_RETURN, -EBUSY);
	say(" busy=%s", amount(pread(fd, data, 10, 0)));
	say(",%s", amount(pwrite(fd, "x", 1, 0)));
	tell_driver(REF_RETURN, 0);
	say(" mmap=%s", mapped(map(NULL, page, PROT_READ, MAP_SHARED, fd, 0)));
}

const struct row attribute_rows[] = {
	ROW(attr_read_pieces),
	ROW(attr_seek),
	ROW(attr_write),
	ROW(attr_results),
	ROW(attr_read_after_error),
	ROW(attr_open),
	ROW(attr_names),
	ROW(attr_calls),
	ROW(attr_stat),
	ROW(attr_poll),
	ROW(attr_bytes),
	{ },
};
