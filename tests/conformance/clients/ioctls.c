// SPDX-License-Identifier: MIT
/* ioctl(2): which commands does the kernel keep for itself, and what does the driver see of others? */
#define _GNU_SOURCE
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "row.h"

/* The system call itself: a command of 64 bits, and a result of 64 bits. */
static long sys_ioctl(int fd, unsigned long command, unsigned long argument)
{
	return syscall(SYS_ioctl, fd, command, argument);
}

struct command {
	unsigned long number;
	const char *name;
};

#define COMMAND(name) { name, #name }

/* Ask with each command; behind the answer is whether the driver saw it. */
static void say_commands(int fd, const struct command *commands, unsigned long argument)
{
	for (; commands->name; commands++) {
		say(" %s=%s", commands->name, amount(sys_ioctl(fd, commands->number, argument)));
		say_ran("");
	}
}

/* Commands of any file. */
static void ioctl_any_file(void)
{
	static const struct command commands[] = {
		COMMAND(FIOCLEX), COMMAND(FIONCLEX), COMMAND(FIONBIO), COMMAND(FIOQSIZE),
		COMMAND(FIGETBSZ), COMMAND(FIOASYNC), COMMAND(FIFREEZE), COMMAND(FITHAW), { },
	};
	static int zeros[64];
	int fd = open_device(O_RDWR);

	watch();
	say_commands(fd, commands, (long)zeros);
	say(" blocksize=%d", zeros[0]);
}

/* Commands of files on disks. */
static void ioctl_of_disk_files(void)
{
	static const struct command commands[] = {
		COMMAND(FIBMAP), COMMAND(FS_IOC_FIEMAP), COMMAND(FICLONE), COMMAND(FIDEDUPERANGE), COMMAND(FS_IOC_GETFLAGS), COMMAND(FS_IOC_SETFLAGS),
		COMMAND(FS_IOC_FSGETXATTR), COMMAND(FS_IOC_FSSETXATTR), COMMAND(FS_IOC_GETVERSION),
		COMMAND(FS_IOC_GETFSLABEL), COMMAND(FITRIM), { },
	};
	static char zeros[512];
	int fd = open_device(O_RDWR);

	watch();
	say_commands(fd, commands, (long)zeros);
}

/* Commands of terminals, sockets and block devices: nothing but numbers to others. */
static void ioctl_of_others(void)
{
	static const struct command commands[] = {
		COMMAND(TCGETS), COMMAND(TIOCGWINSZ), COMMAND(FIONREAD), COMMAND(TIOCOUTQ),
		COMMAND(FIOSETOWN), COMMAND(FIOGETOWN), COMMAND(BLKGETSIZE), COMMAND(BLKGETSIZE64),
		COMMAND(BLKFLSBUF), COMMAND(SIOCATMARK), { 0x8912, "SIOCGIFCONF" },
		{ 0x8906, "SIOCGSTAMP" }, { 0x890b, "SIOCADDRT" }, { },
	};
	static char zeros[512];
	int fd = open_device(O_RDWR);

	watch();
	say_commands(fd, commands, (long)zeros);
}

/* Plain numbers, of which the kernel keeps two. */
static void ioctl_small_numbers(void)
{
	static const struct command commands[] = {
		{ 0, "0" }, { 1, "1" }, { 2, "2" }, { 3, "3" }, { 0xff, "0xff" }, { 0x1234, "0x1234" },
		{ 0x7fffffff, "0x7fffffff" }, { 0x80000000, "0x80000000" }, { 0xffffffff, "-1" }, { },
	};
	static int zeros[64];
	int fd = open_device(O_RDWR);

	watch();
	say_commands(fd, commands, (long)zeros);
}

/* What of command and argument reaches the driver. */
static void ioctl_widths(void)
{
	int fd = open_device(O_RDWR);
	struct ref_request seen;

	watch();
	say("high=%s", amount(sys_ioctl(fd, 0x100001234, 0xfedcba9876543210)));
	seen = driver_state();
	say(" seen=%#llx,%#llx", seen.command, seen.argument);
	say(" minus=%s", amount(sys_ioctl(fd, -4L, -1)));
	seen = driver_state();
	say(" seen=%#llx,%#llx", seen.command, seen.argument);
	say(" high_clex=%s", amount(sys_ioctl(fd, 1UL << 32 | FIOCLEX, 0)));
	say(" cloexec=%d", fcntl(fd, F_GETFD));
	say_ran("drv");
}

/* Which files may be asked: all but names; O_ACCMODE is for nothing else. */
static void ioctl_modes(void)
{
	watch();
	say("rdonly=%s", amount(sys_ioctl(open_device(O_RDONLY), 0x1234, 0)));
	say(" wronly=%s", amount(sys_ioctl(open_device(O_WRONLY), 0x1234, 0)));
	say(" neither=%s", amount(sys_ioctl(open_device(O_ACCMODE), 0x1234, 0)));
	say(" path=%s", amount(sys_ioctl(open_device(O_PATH), 0x1234, 0)));
	say(" path_clex=%s", amount(sys_ioctl(open_device(O_PATH), FIOCLEX, 0)));
	say_ran("drv");
}

/* FIOCLEX, FIONBIO and FIOASYNC do what fcntl does. */
static void ioctl_as_fcntl(void)
{
	int fd = open_device(O_RDWR), on = 1, off = 0;

	signal(SIGIO, SIG_IGN);
	say("clex=%s", status(sys_ioctl(fd, FIOCLEX, 0)));
	say(":%d", fcntl(fd, F_GETFD));
	say(" nclex=%s", status(sys_ioctl(fd, FIONCLEX, 0)));
	say(":%d", fcntl(fd, F_GETFD));
	say(" nbio=%s", status(sys_ioctl(fd, FIONBIO, (long)&on)));
	say(":%s", text_of_flags(fcntl(fd, F_GETFL)));
	say("(%s)", text_of_flags(driver_state().file_flags));
	say(" off=%s", status(sys_ioctl(fd, FIONBIO, (long)&off)));
	say(":%s", text_of_flags(fcntl(fd, F_GETFL)));
	watch();
	say(" async=%s", status(sys_ioctl(fd, FIOASYNC, (long)&on)));
	say(":%s", text_of_flags(fcntl(fd, F_GETFL)));
	say(" off=%s", status(sys_ioctl(fd, FIOASYNC, (long)&off)));
	say_ran("drv");
}

/* Their argument is looked at. */
static void ioctl_bad_argument(void)
{
	static const struct command commands[] = {
		COMMAND(FIONBIO), COMMAND(FIOASYNC), COMMAND(FIGETBSZ), COMMAND(FIOQSIZE),
		COMMAND(FS_IOC_FIEMAP), COMMAND(FICLONERANGE), COMMAND(FIDEDUPERANGE),
		COMMAND(FS_IOC_SETFLAGS), COMMAND(FS_IOC_FSSETXATTR), { },
	};
	int fd = open_device(O_RDWR);

	watch();
	say_commands(fd, commands, 0);
	say(" |");
	say_commands(fd, commands, (long)KERNEL_ADDRESS);
}

/* commands, whose ioctl returns what it is told. */
static void ioctl_returns(void)
{
	static const long results[] = {
		0, 5, 0x7fffffff, -EPERM, -EIO, -ENOTTY, -EINVAL, -512 /* ERESTARTSYS */,
		-515 /* ENOIOCTLCMD */, -4095,
	};
	int fd = open_device(O_RDWR);
	size_t i;

	for (i = 0; i < sizeof(results) / sizeof(*results); i++) {
		tell_driver(REF_RETURN, results[i]);
		say(" %ld->%s", results[i], amount(sys_ioctl(fd, 0x1234, 0)));
	}
}

/* Copies of one file onto another. */
static void ioctl_clone(void)
{
	int fd = open_device(O_RDWR), file = other_file();
	struct file_clone_range range = { .src_fd = file };

	watch();
	say("onto=%s", status(sys_ioctl(fd, FICLONE, file)));
	say(" from=%s", status(sys_ioctl(file, FICLONE, fd)));
	say(" itself=%s", status(sys_ioctl(fd, FICLONE, fd)));
	say(" bad=%s", status(sys_ioctl(fd, FICLONE, 999)));
	say(" range=%s", status(sys_ioctl(fd, FICLONERANGE, (long)&range)));
	say_ran("drv");
}

const struct row ioctl_rows[] = {
	ROW(ioctl_any_file),
	ROW(ioctl_of_disk_files),
	ROW(ioctl_of_others),
	ROW(ioctl_small_numbers),
	ROW(ioctl_widths),
	ROW(ioctl_modes),
	ROW(ioctl_as_fcntl),
	ROW(ioctl_bad_argument),
	ROW(ioctl_returns),
	ROW(ioctl_clone),
	{ },
};
