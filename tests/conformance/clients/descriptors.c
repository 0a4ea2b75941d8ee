// SPDX-License-Identifier: MIT
/* Descriptors of a device: what /proc shows of them, their limits, and signals for their owner. */
#define _GNU_SOURCE
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <termios.h>

#include "row.h"

static const char *link_of(int fd)
{
	static char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return path;
}

/* Position and flags in /proc/self/fdinfo. */
static void say_info(const char *tag, int fd)
{
	char path[48], line[128];
	long long pos = -1;
	unsigned long flags = ~0UL, mount = 0, inode = 0;
	FILE *info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = fopen(path, "r");
	while (info && fgets(line, sizeof(line), info)) {
		sscanf(line, "pos: %lld", &pos);
		sscanf(line, "flags: %lo", &flags);
		sscanf(line, "mnt_id: %lu", &mount);
		sscanf(line, "ino: %lu", &inode);
	}
	if (info)
		fclose(info);
	say(" %s=%lld:%s mnt=%d ino=%d", tag, pos, text_of_flags(flags), mount != 0, inode != 0);
}

static void fd_info(void)
{
	int fd = open_for_use(O_RDWR | O_APPEND), other;
	char bytes[8];

	say_info("opened", fd);
	if (read(fd, bytes, 5) < 0)
		say(" read failed");
	say_info("read", fd);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	say_info("nonblock", fd);
	other = open_device(O_WRONLY | O_CLOEXEC);
	say_info("wronly", other);
	say_info("path", open_device(O_PATH));
}

/* The links of /proc/self/fd: what they are called, their modes, and what is behind them. */
static void fd_links(void)
{
	static const struct { const char *name; int flags; } ways[] = {
		{ "rdwr", O_RDWR }, { "rdonly", O_RDONLY }, { "wronly", O_WRONLY }, { "path", O_PATH },
	};
	struct stat link = { 0 }, behind = { 0 };
	char target[PATH_MAX] = "";
	size_t i;

	for (i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		int fd = open_device(ways[i].flags);
		long size = readlink(link_of(fd), target, sizeof(target) - 1);

		target[size < 0 ? 0 : size] = 0;
		lstat(link_of(fd), &link);
		say(" %s=%d lnk=%d mode=%o", ways[i].name, !strcmp(target, device_path()),
		    S_ISLNK(link.st_mode), link.st_mode & 0777);
		say(" stat=%s chr=%d", status(stat(link_of(fd), &behind)), S_ISCHR(behind.st_mode));
	}
}

/* Opened again by its link: another open file, with what that asks for. */
static void fd_reopened(void)
{
	int fd = open_for_use(O_WRONLY), again;
	char byte;

	watch();
	again = open(link_of(fd), O_RDONLY);
	say("again=%d", again >= 0);
	say(" flags=%s", text_of_flags(fcntl(again, F_GETFL)));
	say_ran("drv");
	say(" read=%s", amount(read(again, &byte, 1)));
	say(" creat=%d", open(link_of(fd), O_RDWR | O_CREAT, 0600) >= 0);
	say(" excl=%s", status(open(link_of(fd), O_RDWR | O_CREAT | O_EXCL, 0600)));
	say(" nofollow=%s", status(open(link_of(fd), O_RDWR | O_NOFOLLOW)));
	say(" directory=%s", status(open(link_of(fd), O_RDWR | O_DIRECTORY)));
	say(" path=%s", status(open(link_of(open_device(O_PATH)), O_RDWR) < 0 ? -1 : 0));
	say_ran("drv");
	say(" chmod=%s", status(chmod(link_of(fd), 0666)));
	say(" access=%s", status(access(link_of(fd), R_OK | W_OK)));
	say(" exec=%s", status(execl(link_of(fd), "x", NULL)));
	say(" unlink=%s", status(unlink(link_of(fd))));
	say_ran("drv");
}

/* dup2, dup3 and F_DUPFD: numbers that there can't be. */
static void fd_duplicates(void)
{
	int fd = open_device(O_RDWR), twin;

	watch();
	say("dup2_same=%d", dup2(fd, fd) == fd);
	say(" dup3_same=%s", status(dup3(fd, fd, 0)));
	say(" dup3_flags=%s", status(dup3(fd, 8, O_NONBLOCK)));
	say(" minus=%s", status(dup2(fd, -1)));
	say(" far=%s", status(dup2(fd, INT_MAX)));
	say(" closed=%s", status(dup2(999, fd)));
	say(" dupfd_minus=%s", status(fcntl(fd, F_DUPFD, -1)));
	say(" dupfd_far=%s", status(fcntl(fd, F_DUPFD, INT_MAX)));
	twin = dup3(fd, 8, O_CLOEXEC);
	say(" dup3=%d cloexec=%d", twin, fcntl(twin, F_GETFD));
	twin = dup2(twin, 9);
	say(" dup2=%d cloexec=%d", twin, fcntl(twin, F_GETFD));
	say_ran("drv");
}

/* No more descriptors: the driver is not asked. */
static void fd_limit(void)
{
	struct rlimit limit;
	int fd = open_device(O_RDWR), null = open("/dev/null", O_RDONLY);

	getrlimit(RLIMIT_NOFILE, &limit);
	watch();
	limit.rlim_cur = null;
	setrlimit(RLIMIT_NOFILE, &limit);
	while (dup(null) >= 0)
		;
	say("open=%s", status(open(device_path(), O_RDWR)));
	say(" path=%s", status(open(device_path(), O_PATH)));
	say(" dup=%s", status(dup(fd)));
	say(" still=%s", status(fcntl(fd, F_GETFL) < 0 ? -1 : 0));
	say_ran("drv");
}

/* RLIMIT_FSIZE is about regular files. */
static void fd_file_size(void)
{
	struct rlimit limit = { 0, 0 };
	int fd = open_for_use(O_RDWR);

	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	watch();
	say("write=%s", amount(write(fd, "abc", 3)));
	say(" pwrite=%s", amount(pwrite(fd, "abc", 3, 0)));
	say(" truncate=%s", status(ftruncate(fd, 1)));
	say(" fallocate=%s", status(fallocate(fd, 0, 0, 1)));
	say_ran("drv");
}

/* Commands of fcntl that are for pipes, directories and memory files. */
static void fd_other_commands(void)
{
	int fd = open_device(O_RDWR);
	unsigned long long hint = 2;

	watch();
	say("pipe_size=%s", status(fcntl(fd, F_GETPIPE_SZ)));
	say(" set_pipe=%s", status(fcntl(fd, F_SETPIPE_SZ, 4096)));
	say(" seals=%s", status(fcntl(fd, F_GET_SEALS)));
	say(" add_seals=%s", status(fcntl(fd, F_ADD_SEALS, 1)));
	say(" notify=%s", status(fcntl(fd, F_NOTIFY, 1)));
	say(" hint=%s", status(fcntl(fd, F_GET_RW_HINT, &hint)));
	hint = 99;
	say(" set_hint=%s", status(fcntl(fd, F_SET_RW_HINT, &hint)));
	say(" unknown=%s", status(fcntl(fd, 9999)));
	say(" owner=%d sig=%d", fcntl(fd, F_GETOWN), fcntl(fd, F_GETSIG));
	say(" bad_sig=%s", status(fcntl(fd, F_SETSIG, 65)));
	say(" nobody=%s", status(fcntl(fd, F_SETOWN, 0x3fffffff)));
	say(" lease=%s", status(fcntl(fd, F_SETLEASE, 9)));
	say_ran("drv");
}

/* Is it a terminal, or a socket? What libraries ask of any file. */
static void fd_questions(void)
{
	int fd = open_device(O_RDWR), number = 0;
	struct winsize size;

	watch();
	say("isatty=%d", isatty(fd));
	say_ran("drv");
	say(" winsize=%s", status(ioctl(fd, TIOCGWINSZ, &size)));
	say(" fionread=%s", status(ioctl(fd, FIONREAD, &number)));
	say(" siocgifname=%s", status(ioctl(fd, 0x8910, &size)));
	say_ran("drv");
	say(" fchdir=%s", status(fchdir(fd)));
	say(" seekable=%s", status(lseek(fd, 0, SEEK_CUR) < 0 ? -1 : 0));
	say(" data=%s", status(lseek(fd, 0, SEEK_DATA) < 0 ? -1 : 0));
	say_ran("drv");
}

/* select: sizes, limits and masks that are wrong. */
static void fd_select(void)
{
	int fd = open_for_use(O_RDWR), low = dup2(fd, 5);
	struct timeval wrong = { 0, -1 }, now = { 0, 0 };
	struct { const void *mask; size_t size; } mask = { &wrong, 3 };
	fd_set set, other;

	FD_ZERO(&set);
	FD_SET(low, &set);
	other = set;
	watch();
	say("both=%d", select(low + 1, &set, &other, NULL, &now));
	FD_SET(low, &set);
	say(" below=%d", select(low, &set, NULL, NULL, &now));
	say(" minus=%s", status(select(-1, &set, NULL, NULL, &now)));
	say(" time=%s", status(select(low + 1, &set, NULL, NULL, &wrong)));
	say(" null=%s", status(select(low + 1, (void *)8, NULL, NULL, &now)));
	say(" mask=%s", status(syscall(SYS_pselect6, low + 1, &set, NULL, NULL, NULL, &mask)));
	close(low);
	FD_ZERO(&set);
	FD_SET(low, &set);
	say(" closed=%s", status(select(low + 1, &set, NULL, NULL, &now)));
	say_ran("drv");
}

/* readv and writev: nothing, too much, and what is not there. */
static void fd_vectors(void)
{
	int fd = open_for_use(O_RDWR);
	char bytes[8] = "";
	struct iovec none = { bytes, 0 }, long_one = { bytes, SSIZE_MAX },
		two[] = { { bytes, 4 }, { bytes + 4, 4 } }, gap[] = { { bytes, 4 }, { NULL, 4 } };

	watch();
	say("count0=%s", amount(readv(fd, &none, 0)));
	say(" empty=%s", amount(readv(fd, &none, 1)));
	say(" minus=%s", amount(syscall(SYS_readv, fd, two, -1)));
	say(" many=%s", amount(syscall(SYS_readv, fd, two, 1025)));
	say(" long=%s", amount(readv(fd, (struct iovec[]){ long_one, long_one }, 2)));
	say(" null=%s", amount(syscall(SYS_readv, fd, NULL, 1)));
	say_ran("drv");
	say(" two=%s", amount(readv(fd, two, 2)));
	say_ran("drv");
	say(" write=%s", amount(writev(fd, two, 2)));
	say_ran("drv");
	say(" gap=%s", amount(syscall(SYS_readv, fd, gap, 2)));
	say_ran("drv");
}

static volatile sig_atomic_t signals;
static siginfo_t last;

static void note_signal(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	signals++;
	last = *info;
}

/* O_ASYNC and its owner: what is set, and what of it the driver hears. */
static void fd_async(void)
{
	struct sigaction action = { .sa_sigaction = note_signal, .sa_flags = SA_SIGINFO };
	struct f_owner_ex owner = { F_OWNER_TID, 0 };
	int fd = open_device(O_RDWR | O_ASYNC), twin;

	sigaction(SIGIO, &action, NULL);
	watch();
	say("opened=%s", text_of_flags(fcntl(fd, F_GETFL)));
	say(" on=%s", status(fcntl(fd, F_SETFL, O_ASYNC)));
	say(":%s", text_of_flags(fcntl(fd, F_GETFL)));
	say_ran("drv");
	say(" off=%s", status(fcntl(fd, F_SETFL, 0)));
	say(" again=%s", status(fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK)));
	say(":%s", text_of_flags(fcntl(fd, F_GETFL)));
	say_ran("drv");
	say(" owner=%s", status(fcntl(fd, F_SETOWN, getpid())));
	say(":%d", fcntl(fd, F_GETOWN) == getpid());
	say(" group=%s", status(fcntl(fd, F_SETOWN, -getpgrp())));
	say(":%d", fcntl(fd, F_GETOWN) == -getpgrp());
	say(" ex=%s", status(fcntl(fd, F_GETOWN_EX, &owner)));
	say(":%d", owner.type);
	owner.type = 9;
	say(" kind=%s", status(fcntl(fd, F_SETOWN_EX, &owner)));
	say(" sig=%s", status(fcntl(fd, F_SETSIG, SIGUSR1)));
	say(":%d", fcntl(fd, F_GETSIG) == SIGUSR1);
	twin = dup(fd);
	say(" twin=%d", fcntl(twin, F_GETSIG) == SIGUSR1);
	close(fd);
	say_ran("drv");
	close(twin);
	say_ran("drv");
	say(" signals=%d", signals);
}

/* A child that inherits it, and sets flags and position. */
static void fd_inherited(void)
{
	int fd = open_for_use(O_RDWR);
	char bytes[4];

	watch();
	if (!fork()) {
		if (read(fd, bytes, 3) < 0)
			_exit(1);
		fcntl(fd, F_SETFL, O_NONBLOCK | O_APPEND);
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		_exit(0);
	}
	wait(NULL);
	say("pos=%s", amount(lseek(fd, 0, SEEK_CUR)));
	say(" flags=%s cloexec=%d", text_of_flags(fcntl(fd, F_GETFL)), fcntl(fd, F_GETFD));
	say_ran("drv");
}

const struct row descriptor_rows[] = {
	ROW(fd_info),
	ROW(fd_links),
	ROW(fd_reopened),
	ROW(fd_duplicates),
	ROW(fd_limit),
	ROW(fd_file_size),
	ROW(fd_other_commands),
	ROW(fd_questions),
	ROW(fd_select),
	ROW(fd_vectors),
	ROW(fd_async),
	ROW(fd_inherited),
	{ },
};
