// SPDX-License-Identifier: MIT
/* open(2) and openat2(2): which flags are refused, which does the driver see, which stay? */
#define _GNU_SOURCE
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "row.h"

/* Open with flags: what the driver saw, and what F_GETFL says afterwards. */
static void say_open(const char *name, int flags)
{
	int fd = open(device_path(), flags, 0600);

	say(" %s=", name);
	if (fd < 0) {
		say("%s", error_name(errno));
		return;
	}
	say("%s", text_of_flags(fcntl(fd, F_GETFL)));
	if (!device_is_memfd())
		say("(%s)", text_of_flags(driver_state().open_flags));
	close(fd);
}

/* The access modes; 3 is for ioctl alone. */
static void open_access_modes(void)
{
	watch();
	say_open("rdonly", O_RDONLY);
	say_open("wronly", O_WRONLY);
	say_open("rdwr", O_RDWR);
	say_open("3", O_ACCMODE);
	say_ran("drv");
}

/* Flags that stay with the file. */
static void open_status_flags(void)
{
	watch();
	say_open("append", O_RDWR | O_APPEND);
	say_open("nonblock", O_RDWR | O_NONBLOCK);
	say_open("sync", O_RDWR | O_SYNC);
	say_open("dsync", O_RDWR | O_DSYNC);
	say_open("noatime", O_RDWR | O_NOATIME);
	say_open("async", O_RDWR | O_ASYNC);
	say_ran("drv");
}

/* Flags that are about the opening alone. */
static void open_creation_flags(void)
{
	watch();
	say_open("creat", O_RDWR | O_CREAT);
	say_open("excl", O_RDWR | O_CREAT | O_EXCL);
	say_open("excl_alone", O_RDWR | O_EXCL);
	say_open("trunc", O_RDWR | O_TRUNC);
	say_open("trunc_rdonly", O_RDONLY | O_TRUNC);
	say_open("noctty", O_RDWR | O_NOCTTY);
	say_open("nofollow", O_RDWR | O_NOFOLLOW);
	say_open("cloexec", O_RDWR | O_CLOEXEC);
	say_ran("drv");
}

/* Flags that a device can't be opened with, or that make no sense together. */
static void open_refused_flags(void)
{
	watch();
	say_open("direct", O_RDWR | O_DIRECT);
	say_open("directory", O_RDONLY | O_DIRECTORY);
	say_open("creat_directory", O_RDONLY | O_CREAT | O_DIRECTORY);
	say_open("tmpfile", O_RDWR | O_TMPFILE);
	say_open("tmpfile_rdonly", O_RDONLY | O_TMPFILE);
	say_ran("drv");
	say_open("unknown", O_RDWR | 0x40000000);
	say_ran("drv");
}

/* O_PATH: the driver is not asked, and other flags are left out. */
static void open_path_flags(void)
{
	watch();
	say_open("path", O_PATH);
	say_open("rdwr", O_PATH | O_RDWR);
	say_open("creat", O_PATH | O_CREAT | O_EXCL);
	say_open("direct", O_PATH | O_DIRECT | O_NONBLOCK);
	say_open("directory", O_PATH | O_DIRECTORY);
	say_open("cloexec", O_PATH | O_CLOEXEC | O_NOFOLLOW);
	say_ran("drv");
}

/* An O_PATH descriptor is a name: it can be opened, looked at and passed on, and nothing else. */
static void open_path_descriptor(void)
{
	int fd = open_device(O_PATH), real;
	char name[64], byte;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	watch();
	say("read=%s", amount(read(fd, &byte, 1)));
	say(" mmap=%s", mapped(map(NULL, page, PROT_READ, MAP_SHARED, fd, 0)));
	say(" ioctl=%s", status(syscall(SYS_ioctl, fd, 0x1234, 0L)));
	say(" ftruncate=%s", status(ftruncate(fd, 0)));
	say(" fchmod=%s", status(fchmod(fd, 0666)));
	say(" fchown=%s", status(fchown(fd, -1, -1)));
	say(" dup=%s", status(dup(fd) < 0));
	say_ran("drv");
	real = open(name, O_RDWR);
	say(" open=%s", real < 0 ? error_name(errno) : text_of_flags(fcntl(real, F_GETFL)));
	say_ran("drv");
	say(" openat_empty=%s", status(openat(fd, "", O_RDWR) < 0 ? -1 : 0));
	say(" close=%s", status(close(fd)));
	say_ran("drv");
}

/* A file opened by the name of a descriptor is another file. */
static void open_by_descriptor(void)
{
	int fd = open_device(O_RDONLY), twin;
	char name[64], byte;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	watch();
	twin = open(name, O_RDWR | O_NONBLOCK);
	say("open=%s", twin < 0 ? error_name(errno) : text_of_flags(fcntl(twin, F_GETFL)));
	say_ran("drv");
	say(" write=%s", amount(write(twin, "x", 1)));
	say(" nofollow=%s", status(open(name, O_RDWR | O_NOFOLLOW)));
	say(" path_nofollow=%s", status(read(open(name, O_PATH | O_NOFOLLOW), &byte, 1)));
	say(" excl=%s", status(open(name, O_RDWR | O_CREAT | O_EXCL, 0600)));
	say_ran("drv");
}

/* Too many descriptors: it is not opened at all. */
static void open_too_many(void)
{
	struct rlimit few = { 10, 10 };

	setrlimit(RLIMIT_NOFILE, &few);
	while (dup(0) >= 0)
		;
	say("full=%s", error_name(errno));
	close(9);
	close(8);
	/* The control device's descriptor is among the first, so that it can be asked still. */
	watch();
	say(" one=%d", open_device(O_RDWR));
	say(" two=%d", open_device(O_RDWR));
	say_ran("drv");
	say(" three=%s", status(open_device(O_RDWR)));
	say(" path=%s", status(open_device(O_PATH)));
	say(" openat=%s", status(openat(AT_FDCWD, device_path(), O_RDONLY)));
	say_ran("drv");
}

/* The lowest free number is taken, and close-on-exec is as it was asked for. */
static void open_numbers(void)
{
	int first = open_device(O_RDWR), second = open_device(O_RDWR | O_CLOEXEC);

	say("next=%d", second - first);
	say(" cloexec=%d,%d", fcntl(first, F_GETFD), fcntl(second, F_GETFD));
	close(first);
	say(" again=%d", open_device(O_RDWR) - first);
	say(" cloexec=%d", fcntl(first, F_GETFD));
}

static long sys_openat2(int directory, const char *path, const void *how, size_t size)
{
	return syscall(SYS_openat2, directory, path, how, size);
}

/* openat2: its structure, and flags that open would leave out. */
static void openat2_arguments(void)
{
	struct { struct open_how how; unsigned long more; } h = { { .flags = O_RDWR }, 0 };
	const char *path = device_path();

	watch();
	say("plain=%s", status(sys_openat2(AT_FDCWD, path, &h, 24) < 0 ? -1 : 0));
	say(" larger=%s", status(sys_openat2(AT_FDCWD, path, &h, 32) < 0 ? -1 : 0));
	say_ran("drv");
	say(" small=%s", status(sys_openat2(AT_FDCWD, path, &h, 16)));
	say(" huge=%s", status(sys_openat2(AT_FDCWD, path, &h, page + 1)));
	say(" null=%s", status(sys_openat2(AT_FDCWD, path, NULL, 24)));
	say(" no_path=%s", status(sys_openat2(AT_FDCWD, NULL, &h, 24)));
	h.more = 1;
	say(" more=%s", status(sys_openat2(AT_FDCWD, path, &h, 32)));
	h.how.flags = O_RDWR | 1UL << 40;
	say(" flag40=%s", status(sys_openat2(AT_FDCWD, path, &h, 24)));
	h.how.flags = O_RDWR | 0x40000000;
	say(" unknown=%s", status(sys_openat2(AT_FDCWD, path, &h, 24)));
	h.how = (struct open_how){ .flags = O_RDWR, .mode = 0600 };
	say(" mode=%s", status(sys_openat2(AT_FDCWD, path, &h, 24)));
	h.how = (struct open_how){ .flags = O_PATH | O_RDWR };
	say(" path_rdwr=%s", status(sys_openat2(AT_FDCWD, path, &h, 24)));
	h.how = (struct open_how){ .flags = O_RDWR | O_CREAT, .mode = 010000 };
	say(" mode_bits=%s", status(sys_openat2(AT_FDCWD, path, &h, 24)));
	say_ran("drv");
}

/* openat2: how the path may be followed. */
static void openat2_resolve(void)
{
	static const struct { unsigned int bits; const char *name; } how[] = {
		{ RESOLVE_NO_XDEV, "no_xdev" }, { RESOLVE_NO_MAGICLINKS, "no_magiclinks" },
		{ RESOLVE_NO_SYMLINKS, "no_symlinks" }, { RESOLVE_BENEATH, "beneath" },
		{ RESOLVE_IN_ROOT, "in_root" }, { RESOLVE_BENEATH | RESOLVE_IN_ROOT, "both" },
		{ 0x100, "unknown" },
	};
	int root = open("/", O_PATH), dev = open("/dev", O_PATH);
	size_t i;

	watch();
	for (i = 0; i < sizeof(how) / sizeof(*how); i++) {
		struct open_how h = { .flags = O_RDWR, .resolve = how[i].bits };
		const char *path = device_path(), *name = path + strlen("/dev/");

		say(" %s=%s", how[i].name, status(sys_openat2(root, path, &h, 24) < 0 ? -1 : 0));
		say(",%s", status(sys_openat2(dev, name, &h, 24) < 0 ? -1 : 0));
		say(",%s", status(sys_openat2(root, path + 1, &h, 24) < 0 ? -1 : 0));
	}
	say_ran("drv");
}

/* refuse, whose open operation fails as told: that errno, and no file. */
static void open_fails(void)
{
	static const int errors[] = { EPERM, ENXIO, EBUSY, EIO, ENODEV, EINTR, EINVAL };
	size_t i;

	watch();
	for (i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		tell_driver(REF_RETURN, -errors[i]);
		say(" %s", status(open_device(O_RDWR)));
	}
	tell_driver(REF_RETURN, -EBUSY);
	say(" path=%s", status(open_device(O_PATH) < 0 ? -1 : 0));
	tell_driver(REF_RETURN, 0);
	say(" at_last=%s", status(open_device(O_RDWR) < 0 ? -1 : 0));
	say_ran("drv");
}

const struct row opening_rows[] = {
	ROW(open_access_modes),
	ROW(open_status_flags),
	ROW(open_creation_flags),
	ROW(open_refused_flags),
	ROW(open_path_flags),
	ROW(open_path_descriptor),
	ROW(open_by_descriptor),
	ROW(open_too_many),
	ROW(open_numbers),
	ROW(openat2_arguments),
	ROW(openat2_resolve),
	ROW(open_fails),
	{ },
};
