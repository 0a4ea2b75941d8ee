// SPDX-License-Identifier: MIT
/* How long a file is open: copies of its descriptor, other processes, messages; flush and release. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "row.h"

/* dup: flush at each close, release at the last. */
static void life_dup(void)
{
	int fd = open_device(O_RDWR), twin = dup(fd);

	watch();
	say("close=%s", status(close(fd)));
	say_ran("drv");
	say(" dup2=%s", status(dup2(0, twin) - twin));
	say_ran("drv");
	fd = open_device(O_RDWR);
	say_ran("open");
	say(" dup2_over=%s", status(dup2(fd, twin) - twin));
	say(" close_range=%s", status(syscall(SYS_close_range, fd, twin > fd ? twin : fd, 0)));
	say_ran("drv");
	say(" close=%s", status(close(fd)));
	say_ran("drv");
}

/* close_range, and close-on-exec by it. */
static void life_close_range(void)
{
	const int cloexec = 4, unshare_first = 2;
	int fd = open_device(O_RDWR);

	watch();
	say("cloexec=%s", status(syscall(SYS_close_range, fd, fd, cloexec)));
	say(":%d", fcntl(fd, F_GETFD));
	say(" flags=%s", status(syscall(SYS_close_range, fd, fd, 8)));
	say(" order=%s", status(syscall(SYS_close_range, fd, fd - 1, 0)));
	say_ran("drv");
	say(" unshare=%s", status(syscall(SYS_close_range, fd, ~0U, unshare_first)));
	say(" left=%s", status(fcntl(fd, F_GETFD)));
	say_ran("drv");
}

/* A child has it too: its end closes it there, and releases it if it was the last. */
static void life_fork(void)
{
	int fd = open_device(O_RDWR);

	watch();
	if (!fork())
		_exit(0);
	wait(NULL);
	say_ran("child_ended");
	if (!fork()) {
		close(fd);
		_exit(0);
	}
	wait(NULL);
	say_ran("child_closed");
	close(fd);
	say_ran("closed");
}

/* The parent closes first. */
static void life_child_last(void)
{
	int fd = open_device(O_RDWR), ends[2];
	char byte;

	if (pipe(ends))
		return;
	watch();
	if (!fork()) {
		close(ends[1]);
		say(" child_reads=%s", amount(read(ends[0], &byte, 1)));
		_exit(0);
	}
	close(fd);
	say_ran("closed");
	close(ends[1]);
	wait(NULL);
	say_ran("child_ended");
}

/* A process that is killed. */
static void life_killed(void)
{
	int ends[2];
	pid_t child;
	char byte;

	if (pipe(ends))
		return;
	watch();
	child = fork();
	if (!child) {
		open_device(O_RDWR);
		open_device(O_RDONLY);
		if (write(ends[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	if (read(ends[0], &byte, 1) != 1)
		return;
	say_ran("opened");
	kill(child, SIGKILL);
	wait(NULL);
	say_ran("killed");
}

/* A child that shares the table of descriptors. */
static int close_and_end(void *fd)
{
	close(*(int *)fd);
	return 0;
}

static void life_clone_files(void)
{
	int fd = open_device(O_RDWR);
	char *stack = buffer();

	watch();
	clone(close_and_end, stack + whole, CLONE_FILES | SIGCHLD, &fd);
	wait(NULL);
	say("here=%s", status(fcntl(fd, F_GETFD)));
	say_ran("drv");
	fd = open_device(O_RDWR);
	watch();
	clone(close_and_end, stack + whole, SIGCHLD, &fd);
	wait(NULL);
	say(" here=%s", status(fcntl(fd, F_GETFD)));
	say_ran("drv");
}

/* Replaced by a program: close-on-exec closes it. */
static void life_exec(void)
{
	int kept = open_device(O_RDWR), gone = open_device(O_RDWR | O_CLOEXEC);
	int out[2], in[2];
	char a[12], b[12], byte;

	if (pipe(out) || pipe(in))
		return;
	watch();
	if (!fork()) {
		close(out[0]);
		close(in[1]);
		snprintf(a, sizeof(a), "%d", out[1]);
		snprintf(b, sizeof(b), "%d", in[0]);
		execl("/proc/self/exe", "client", "--hold", a, b, NULL);
		_exit(1);
	}
	close(out[1]);
	close(in[0]);
	if (read(out[0], &byte, 1) != 1)
		say(" exec failed");
	close(kept);
	close(gone);
	say_ran("exec");
	if (write(in[1], "x", 1) != 1)
		say(" the program ended");
	wait(NULL);
	say_ran("ended");
}

static int send_descriptor(int through, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = "", byte = 0;
	struct iovec vector = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *part = CMSG_FIRSTHDR(&message);

	part->cmsg_level = SOL_SOCKET;
	part->cmsg_type = SCM_RIGHTS;
	part->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(part), &fd, sizeof(int));
	return sendmsg(through, &message, 0);
}

static int receive_descriptor(int through)
{
	char control[CMSG_SPACE(sizeof(int))] = "", byte;
	struct iovec vector = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control),
	};
	int fd = -1;

	if (recvmsg(through, &message, MSG_DONTWAIT) == 1 && CMSG_FIRSTHDR(&message))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return fd;
}

/* In a message: open while it is under way, and the same file when it arrives. */
static void life_message(void)
{
	int fd = open_for_use(O_RDWR | O_APPEND), ends[2], got;
	char byte;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		return;
	watch();
	say("send=%s", amount(send_descriptor(ends[0], fd)));
	close(fd);
	say_ran("under_way");
	got = receive_descriptor(ends[1]);
	say(" got=%d", got >= 0);
	say(" flags=%s", text_of_flags(fcntl(got, F_GETFL)));
	say(" read=%s", amount(read(got, &byte, 1)));
	close(got);
	say_ran("drv");
	fd = open_device(O_RDWR);
	send_descriptor(ends[0], fd);
	close(fd);
	say_ran("sent_again");
	close(ends[0]);
	close(ends[1]);
	say_ran("socket_closed");
}

/* In a message to another process. */
static void life_message_to_child(void)
{
	int fd = open_for_use(O_RDWR), ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		return;
	send_descriptor(ends[0], fd);
	close(fd);
	watch();
	if (!fork()) {
		char byte;
		int got = receive_descriptor(ends[1]);

		say("child_reads=%s", amount(read(got, &byte, 1)));
		_exit(0);
	}
	wait(NULL);
	close(ends[0]);
	close(ends[1]);
	say_ran("drv");
}

/* Taken from another process. */
static void life_pidfd_getfd(void)
{
	int fd = open_for_use(O_RDWR), got, us = syscall(SYS_pidfd_open, getpid(), 0);
	char byte;

	watch();
	got = syscall(SYS_pidfd_getfd, us, fd, 0);
	say("got=%d", got >= 0);
	say(" cloexec=%d", fcntl(got, F_GETFD));
	close(fd);
	say_ran("closed");
	say(" read=%s", amount(read(got, &byte, 1)));
	close(got);
	say_ran("closed");
}

/* commands, whose flush returns what it is told: that is close's result, and it is closed. */
static void life_flush_fails(void)
{
	int fd = open_device(O_RDWR), twin = dup(fd);

	tell_driver(REF_RETURN, -EIO);
	watch();
	say("close=%s", status(close(fd)));
	say(" again=%s", status(close(fd)));
	say_ran("drv");
	say(" dup2=%s", status(dup2(0, twin) - twin));
	say_ran("drv");
	fd = open_device(O_RDWR);
	say(" close_range=%s", status(syscall(SYS_close_range, fd, fd, 0)));
	say_ran("drv");
	tell_driver(REF_RETURN, -EINTR);
	say(" EINTR=%s", status(close(open_device(O_RDWR))));
	say_ran("drv");
}

/* Several files of one device, each released by itself. */
static void life_several(void)
{
	int first = open_device(O_RDWR), second = open_device(O_RDONLY);

	watch();
	close(second);
	say_ran("second");
	close(first);
	say_ran("first");
	close(open_device(O_PATH));
	say_ran("path");
	if (!fork()) {
		open_device(O_RDWR);
		open_device(O_RDWR);
		_exit(0);
	}
	wait(NULL);
	say_ran("child");
}

const struct row lifetime_rows[] = {
	ROW(life_dup),
	ROW(life_close_range),
	ROW(life_fork),
	ROW(life_child_last),
	ROW(life_killed),
	ROW(life_clone_files),
	ROW(life_exec),
	ROW(life_message),
	ROW(life_message_to_child),
	ROW(life_pidfd_getfd),
	ROW(life_flush_fails),
	ROW(life_several),
	{ },
};
