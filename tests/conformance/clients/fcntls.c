// SPDX-License-Identifier: MIT
/* fcntl(2), flock(2) and dup(2): flags, locks, owners, and what is for other files. */
#define _GNU_SOURCE
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "row.h"

#define F_CANCELLK 1029
#ifndef F_DUPFD_QUERY
#define F_DUPFD_QUERY (1027)
#endif

/* The call itself: the C library has its own ideas about F_GETOWN. */
static long sys_fcntl(int fd, int command, unsigned long argument)
{
	return syscall(SYS_fcntl, fd, command, argument);
}

static void say_setfl(int fd, const char *name, unsigned long flags)
{
	say(" %s=%s", name, status(sys_fcntl(fd, F_SETFL, flags)));
	say(":%s", text_of_flags(sys_fcntl(fd, F_GETFL, 0)));
	if (!device_is_memfd())
		say("(%s)", text_of_flags(driver_state().file_flags));
}

/* Flags that can be set later: F_GETFL and the driver's file->f_flags. */
static void fcntl_setfl(void)
{
	int fd = open_device(O_RDWR);

	watch();
	say_setfl(fd, "nonblock", O_NONBLOCK);
	say_setfl(fd, "append", O_APPEND);
	say_setfl(fd, "noatime", O_NOATIME);
	say_setfl(fd, "none", 0);
	say_ran("drv");
}

/* Flags that can't, or that need an operation of the driver. */
static void fcntl_setfl_others(void)
{
	int fd = open_device(O_RDWR);

	signal(SIGIO, SIG_IGN);
	watch();
	say_setfl(fd, "async", O_ASYNC);
	say_ran("drv");
	say_setfl(fd, "none", 0);
	say_ran("drv");
	say_setfl(fd, "direct", O_DIRECT | O_NONBLOCK);
	say_setfl(fd, "sync", O_SYNC);
	say_setfl(fd, "wronly", O_WRONLY);
	say_setfl(fd, "creat", O_CREAT | O_TRUNC | O_EXCL);
	say_setfl(fd, "all", -1UL & ~(O_DIRECT | O_ASYNC));
	say_ran("drv");
}

/* Flags belong to the open file, close-on-exec to the descriptor. */
static void fcntl_shared_flags(void)
{
	int fd = open_device(O_RDWR), twin = dup(fd), other = open_device(O_RDWR);

	sys_fcntl(fd, F_SETFL, O_NONBLOCK);
	sys_fcntl(fd, F_SETFD, FD_CLOEXEC);
	say("dup=%s", text_of_flags(sys_fcntl(twin, F_GETFL, 0)));
	say(" fd=%ld", sys_fcntl(twin, F_GETFD, 0));
	say(" other=%s", text_of_flags(sys_fcntl(other, F_GETFL, 0)));
	if (!fork())
		_exit(sys_fcntl(twin, F_SETFL, O_APPEND) < 0);
	wait(NULL);
	say(" child=%s", text_of_flags(sys_fcntl(fd, F_GETFL, 0)));
	say(" setfd=%s", status(sys_fcntl(twin, F_SETFD, -1UL)));
	say(" fd=%ld", sys_fcntl(twin, F_GETFD, 0));
}

/* What an O_PATH descriptor allows. */
static void fcntl_path(void)
{
	int fd = open_device(O_PATH);
	struct flock lock = { .l_type = F_RDLCK };

	watch();
	say("getfl=%s", text_of_flags(sys_fcntl(fd, F_GETFL, 0)));
	say(" getfd=%s", amount(sys_fcntl(fd, F_GETFD, 0)));
	say(" setfd=%s", status(sys_fcntl(fd, F_SETFD, FD_CLOEXEC)));
	say(" dupfd=%s", amount(sys_fcntl(fd, F_DUPFD, 600)));
	say(" setfl=%s", status(sys_fcntl(fd, F_SETFL, O_NONBLOCK)));
	say(" setlk=%s", status(sys_fcntl(fd, F_SETLK, (long)&lock)));
	say(" getown=%s", status(sys_fcntl(fd, F_GETOWN, 0)));
	say(" flock=%s", status(flock(fd, LOCK_SH)));
	say(" getlease=%s", status(sys_fcntl(fd, F_GETLEASE, 0)));
	say_ran("drv");
}

static const char *in_child(int fd, int command, short type)
{
	int result = 0;

	if (!fork()) {
		struct flock lock = { .l_type = type, .l_len = 10 };

		_exit(sys_fcntl(fd, command, (long)&lock) ? errno : 0);
	}
	wait(&result);
	return WEXITSTATUS(result) ? error_name(WEXITSTATUS(result)) : "0";
}

/* Locks of a process: by mode of the file, against another process, and given back by close. */
static void fcntl_locks(void)
{
	int fd = open_device(O_RDWR), rdonly = open_device(O_RDONLY), wronly = open_device(O_WRONLY);
	struct flock wr = { .l_type = F_WRLCK, .l_len = 10 }, rd = { .l_type = F_RDLCK }, query = wr;

	watch();
	say("wrlck_rdonly=%s", status(sys_fcntl(rdonly, F_SETLK, (long)&wr)));
	say(" rdlck_wronly=%s", status(sys_fcntl(wronly, F_SETLK, (long)&rd)));
	say(" wrlck=%s", status(sys_fcntl(fd, F_SETLK, (long)&wr)));
	say(" child=%s", in_child(fd, F_SETLK, F_RDLCK));
	say(" getlk=%s", status(sys_fcntl(fd, F_GETLK, (long)&query)));
	say(":%d", query.l_type);
	close(rdonly);
	say(" after_close_of_other=%s", in_child(fd, F_SETLK, F_WRLCK));
	wr.l_type = 9;
	say(" type=%s", status(sys_fcntl(fd, F_SETLK, (long)&wr)));
	wr = (struct flock){ .l_type = F_RDLCK, .l_start = -5 };
	say(" start=%s", status(sys_fcntl(fd, F_SETLK, (long)&wr)));
	wr = (struct flock){ .l_type = F_RDLCK, .l_whence = SEEK_END, .l_start = -1 };
	say(" end=%s", status(sys_fcntl(fd, F_SETLK, (long)&wr)));
	say(" null=%s", status(sys_fcntl(fd, F_SETLK, 0)));
	say_ran("drv");
}

/* Locks of an open file. */
static void fcntl_ofd_locks(void)
{
	int fd = open_device(O_RDWR), other = open_device(O_RDWR), twin = dup(fd);
	struct flock lock = { .l_type = F_WRLCK }, pid = { .l_type = F_RDLCK, .l_pid = 1 };

	say("set=%s", status(sys_fcntl(fd, F_OFD_SETLK, (long)&lock)));
	say(" other=%s", status(sys_fcntl(other, F_OFD_SETLK, (long)&lock)));
	say(" dup=%s", status(sys_fcntl(twin, F_OFD_SETLK, (long)&lock)));
	say(" process=%s", status(sys_fcntl(other, F_SETLK, (long)&lock)));
	say(" pid=%s", status(sys_fcntl(fd, F_OFD_SETLK, (long)&pid)));
	close(fd);
	say(" dup_holds=%s", status(sys_fcntl(other, F_OFD_SETLK, (long)&lock)));
	close(twin);
	say(" free=%s", status(sys_fcntl(other, F_OFD_SETLK, (long)&lock)));
}

/* flock, which is apart from both. */
static void fcntl_flock(void)
{
	int fd = open_device(O_RDWR), other = open_device(O_RDONLY), twin = dup(fd);
	struct flock lock = { .l_type = F_RDLCK };

	watch();
	say("ex=%s", status(flock(fd, LOCK_EX | LOCK_NB)));
	say(" other=%s", status(flock(other, LOCK_SH | LOCK_NB)));
	say(" dup=%s", status(flock(twin, LOCK_SH | LOCK_NB)));
	say(" other=%s", status(flock(other, LOCK_SH | LOCK_NB)));
	say(" upgrade=%s", status(flock(other, LOCK_EX | LOCK_NB)));
	say(" setlk=%s", status(sys_fcntl(other, F_SETLK, (long)&lock)));
	say(" un=%s", status(flock(twin, LOCK_UN)));
	say(" upgrade=%s", status(flock(other, LOCK_EX | LOCK_NB)));
	say(" 0=%s", status(flock(fd, 0)));
	say(" both=%s", status(flock(fd, LOCK_SH | LOCK_EX)));
	close(other);
	say(" closed=%s", status(flock(fd, LOCK_EX | LOCK_NB)));
	say_ran("drv");
}

/* Leases and directory notes are for other files. */
static void fcntl_leases(void)
{
	int fd = open_device(O_RDONLY);

	say("getlease=%s", amount(sys_fcntl(fd, F_GETLEASE, 0)));
	say(" rdlck=%s", status(sys_fcntl(fd, F_SETLEASE, F_RDLCK)));
	say(" wrlck=%s", status(sys_fcntl(open_device(O_RDWR), F_SETLEASE, F_WRLCK)));
	say(" unlck=%s", status(sys_fcntl(fd, F_SETLEASE, F_UNLCK)));
	say(" notify=%s", status(sys_fcntl(fd, F_NOTIFY, DN_ACCESS)));
}

/* Who gets SIGIO. */
static void fcntl_owner(void)
{
	int fd = open_device(O_RDWR);
	struct { int type, pid; } owner = { 1, getpid() };

	say("getown=%s", amount(sys_fcntl(fd, F_GETOWN, 0)));
	say(" setown=%s", status(sys_fcntl(fd, F_SETOWN, getpid())));
	say(" is_us=%d", sys_fcntl(fd, F_GETOWN, 0) == getpid());
	say(" nobody=%s", status(sys_fcntl(fd, F_SETOWN, 0x3fffffff)));
	say(" group=%s", status(sys_fcntl(fd, F_SETOWN, -getpgrp())));
	say(" min=%s", status(sys_fcntl(fd, F_SETOWN, 1UL << 31)));
	say(" ex=%s", status(sys_fcntl(fd, F_SETOWN_EX, (long)&owner)));
	owner.type = 9;
	say(" type=%s", status(sys_fcntl(fd, F_SETOWN_EX, (long)&owner)));
	say(" get_ex=%s", status(sys_fcntl(fd, F_GETOWN_EX, (long)&owner)));
	say(":%d", owner.type);
	say(" getsig=%s", amount(sys_fcntl(fd, F_GETSIG, 0)));
	say(" setsig=%s", status(sys_fcntl(fd, F_SETSIG, SIGUSR1)));
	say(" getsig=%s", amount(sys_fcntl(fd, F_GETSIG, 0)));
	say(" 100=%s", status(sys_fcntl(fd, F_SETSIG, 100)));
	say(" none=%s", status(sys_fcntl(fd, F_SETOWN, 0)));
}

/* Commands for pipes and memory files, and one that nobody has. */
static void fcntl_other_files(void)
{
	int fd = open_device(O_RDWR);
	unsigned long hint = 2;

	watch();
	say("getpipe_sz=%s", status(sys_fcntl(fd, F_GETPIPE_SZ, 0)));
	say(" setpipe_sz=%s", status(sys_fcntl(fd, F_SETPIPE_SZ, 4096)));
	say(" add_seals=%s", status(sys_fcntl(fd, F_ADD_SEALS, F_SEAL_GROW)));
	say(" get_seals=%s", status(sys_fcntl(fd, F_GET_SEALS, 0)));
	say(" cancellk=%s", status(sys_fcntl(fd, F_CANCELLK, 0)));
	say(" unknown=%s", status(sys_fcntl(fd, 9999, 0)));
	say(" -1=%s", status(sys_fcntl(fd, -1, 0)));
	say(" set_rw_hint=%s", status(sys_fcntl(fd, F_SET_RW_HINT, (long)&hint)));
	say(" get_rw_hint=%s", status(sys_fcntl(fd, F_GET_RW_HINT, (long)&hint)));
	say(":%lu", hint);
	hint = 99;
	say(" hint99=%s", status(sys_fcntl(fd, F_SET_RW_HINT, (long)&hint)));
	say(" null=%s", status(sys_fcntl(fd, F_GET_RW_HINT, 0)));
	say_ran("drv");
}

/* Copies of a descriptor, and numbers at the edge. */
static void fcntl_dup(void)
{
	struct rlimit limit = { 700, 700 };
	int fd = open_device(O_RDWR);

	setrlimit(RLIMIT_NOFILE, &limit);
	watch();
	say("600=%s", amount(sys_fcntl(fd, F_DUPFD, 600)));
	say(" again=%s", amount(sys_fcntl(fd, F_DUPFD, 600)));
	say(" cloexec=%s", amount(sys_fcntl(fd, F_DUPFD_CLOEXEC, 650)));
	say(":%s", amount(sys_fcntl(650, F_GETFD, 0)));
	say(" last=%s", amount(sys_fcntl(fd, F_DUPFD, 699)));
	say(" full=%s", status(sys_fcntl(fd, F_DUPFD, 699)));
	say(" limit=%s", status(sys_fcntl(fd, F_DUPFD, 700)));
	say(" -1=%s", status(sys_fcntl(fd, F_DUPFD, -1)));
	say(" dup2_self=%s", status(dup2(fd, fd) - fd));
	say(" dup3_self=%s", status(syscall(SYS_dup3, fd, fd, 0)));
	say(" dup3_flags=%s", status(syscall(SYS_dup3, fd, 620, O_NONBLOCK)));
	say(" dup3=%s", amount(syscall(SYS_dup3, fd, 620, O_CLOEXEC)));
	say(":%s", amount(sys_fcntl(620, F_GETFD, 0)));
	say(" dup2_limit=%s", status(dup2(fd, 700)));
	say(" dup2_-1=%s", status(dup2(fd, -1)));
	say_ran("drv");
}

/* Are two descriptors one file? */
static void fcntl_same_file(void)
{
	int fd = open_device(O_RDWR), twin = dup(fd), other = open_device(O_RDWR);
	const int kcmp_file = 0;
	pid_t us = getpid();

	say("kcmp_dup=%s", amount(syscall(SYS_kcmp, us, us, kcmp_file, fd, twin)));
	say(" kcmp_other=%d", syscall(SYS_kcmp, us, us, kcmp_file, fd, other) > 0);
	say(" query_dup=%s", amount(sys_fcntl(fd, F_DUPFD_QUERY, twin)));
	say(" query_other=%s", amount(sys_fcntl(fd, F_DUPFD_QUERY, other)));
}

/* Questions about locks: of each type, with and without what would be in the way. */
static void fcntl_lock_questions(void)
{
	static const struct { const char *name; int command; } kinds[] = {
		{ "posix", F_GETLK }, { "ofd", F_OFD_GETLK },
	};
	static const struct { const char *name; short type; } types[] = {
		{ "rd", F_RDLCK }, { "wr", F_WRLCK }, { "un", F_UNLCK }, { "bad", 7 },
	};
	int fd = open_device(O_RDWR), other = open_device(O_RDWR);
	struct flock lock = { .l_type = F_WRLCK, .l_start = 5, .l_len = 3 };
	size_t i, j, held;

	for (held = 0; held < 2; held++) {
		if (held)
			say(" set=%s", status(fcntl(other, F_OFD_SETLK, &lock)));
		for (i = 0; i < 2; i++)
			for (j = 0; j < 4; j++) {
				struct flock query = { .l_type = types[j].type, .l_len = 100 };

				say(" %s_%s=%s", kinds[i].name, types[j].name,
				    status(fcntl(fd, kinds[i].command, &query)));
				say(":%d:%ld:%ld:%d", query.l_type, (long)query.l_start,
				    (long)query.l_len, query.l_pid);
			}
	}
	lock.l_pid = 1;
	say(" ofd_pid=%s", status(fcntl(fd, F_OFD_GETLK, &lock)));
	say(" set_pid=%s", status(fcntl(fd, F_OFD_SETLK, &lock)));
	lock = (struct flock){ .l_type = F_UNLCK, .l_whence = 9 };
	say(" whence=%s", status(fcntl(fd, F_OFD_GETLK, &lock)));
	lock = (struct flock){ .l_type = F_RDLCK, .l_start = -1 };
	say(" negative=%s", status(fcntl(fd, F_GETLK, &lock)));
	say(" rdonly_wr=%s", status(fcntl(open_device(O_RDONLY), F_SETLK,
					  &(struct flock){ .l_type = F_WRLCK })));
	say(" path=%s", status(fcntl(open_device(O_PATH), F_OFD_GETLK, &lock)));
	say(" null=%s", status(syscall(SYS_fcntl, fd, F_OFD_GETLK, NULL)));
}

const struct row fcntl_rows[] = {
	ROW(fcntl_setfl),
	ROW(fcntl_setfl_others),
	ROW(fcntl_shared_flags),
	ROW(fcntl_path),
	ROW(fcntl_locks),
	ROW(fcntl_ofd_locks),
	ROW(fcntl_lock_questions),
	ROW(fcntl_flock),
	ROW(fcntl_leases),
	ROW(fcntl_owner),
	ROW(fcntl_other_files),
	ROW(fcntl_dup),
	ROW(fcntl_same_file),
	{ },
};
