// SPDX-License-Identifier: MIT
/* poll(2), select(2) and ppoll(2): what a driver's mask looks like, and a driver that has none. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>

#include "row.h"

#define ALL (POLLIN | POLLPRI | POLLOUT | POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND | \
	     POLLMSG | POLLRDHUP)
#define LONG_ENOUGH 5000	/* ms: ends a wait that nothing else ends */

static void say_poll(const char *name, int fd, short events)
{
	struct pollfd one = { fd, events, 0 };
	int result = poll(&one, 1, 0);

	say(" %s=%s:%s", name, amount(result), text_of_mask((unsigned short)one.revents));
}

/* With no events, all and some, and as it is by default. */
static void poll_as_opened(void)
{
	int fd = open_device(O_RDWR);

	say_poll("all", fd, ALL);
	say_poll("none", fd, 0);
	say_poll("in", fd, POLLIN);
	say_poll("out", fd, POLLOUT);
	say_poll("pri", fd, POLLPRI);
	say_poll("rdonly", open_device(O_RDONLY), ALL);
	say_poll("wronly", open_device(O_WRONLY), ALL);
	say_poll("neither", open_device(O_ACCMODE), ALL);
}

/* Each bit that a driver's mask may have, asked for and not. */
static void poll_each_bit(void)
{
	static const short bits[] = {
		POLLIN, POLLPRI, POLLOUT, POLLERR, POLLHUP, POLLNVAL, POLLRDNORM, POLLRDBAND,
		POLLWRNORM, POLLWRBAND, POLLMSG, POLLRDHUP,
	};
	int fd = open_device(O_RDWR);
	size_t i;

	for (i = 0; i < sizeof(bits) / sizeof(*bits); i++) {
		set_mask(bits[i]);
		say_poll(text_of_mask(bits[i]), fd, ALL);
		say_poll("none", fd, 0);
	}
}

/* What was shown is taken back again. */
static void poll_taken_back(void)
{
	static const short masks[] = {
		POLLIN, 0, POLLHUP, POLLIN, POLLERR, POLLOUT, POLLIN | POLLHUP | POLLERR, 0,
		POLLPRI, POLLIN, POLLRDHUP, 0,
	};
	int fd = open_device(O_RDWR);
	size_t i;

	for (i = 0; i < sizeof(masks) / sizeof(*masks); i++) {
		set_mask(masks[i]);
		say_poll(text_of_mask(masks[i]), fd, ALL);
	}
}

/* Reading and writing takes nothing away from what the driver says. */
static void poll_after_use(void)
{
	int fd = open_device(O_RDWR | O_NONBLOCK);
	char to[8];

	set_mask(POLLIN | POLLRDNORM);
	say("read=%s", amount(read(fd, to, 8)));
	say_poll("poll", fd, ALL);
	say(" write=%s", amount(write(fd, to, 8)));
	set_mask(POLLOUT);
	say(" write=%s", amount(write(fd, to, 8)));
	say(" read=%s", amount(read(fd, to, 8)));
	say_poll("poll", fd, ALL);
	set_mask(POLLHUP);
	say(" read=%s", amount(read(fd, to, 8)));
	say(" write=%s", amount(write(fd, to, 8)));
	set_mask(0);
	say(" read=%s", amount(read(fd, to, 8)));
	say(" write=%s", amount(write(fd, to, 8)));
}

static void say_select(unsigned int mask, int fd)
{
	struct timeval now = { 0, 0 };
	fd_set in, out, except;
	int result;

	set_mask(mask);
	FD_ZERO(&in);
	FD_SET(fd, &in);
	out = except = in;
	result = select(fd + 1, &in, &out, &except, &now);
	say(" %s=%s:", text_of_mask(mask), amount(result));
	say("%s%s%s", FD_ISSET(fd, &in) ? "r" : "-", FD_ISSET(fd, &out) ? "w" : "-",
	    FD_ISSET(fd, &except) ? "x" : "-");
}

/* The three sets of select. */
static void select_each_bit(void)
{
	int fd = open_device(O_RDWR);

	say_select(0, fd);
	say_select(POLLIN, fd);
	say_select(POLLRDNORM, fd);
	say_select(POLLRDBAND, fd);
	say_select(POLLOUT, fd);
	say_select(POLLWRNORM, fd);
	say_select(POLLWRBAND, fd);
	say_select(POLLPRI, fd);
	say_select(POLLERR, fd);
	say_select(POLLHUP, fd);
	say_select(POLLRDHUP, fd);
	say_select(POLLNVAL, fd);
}

/* select of a file as it is opened. */
static void select_as_opened(void)
{
	int fd = open_device(O_RDWR), result;
	struct timeval now = { 0, 0 };
	fd_set in, out, except;

	FD_ZERO(&in);
	FD_SET(fd, &in);
	out = except = in;
	result = select(fd + 1, &in, &out, &except, &now);
	say("%s:%d%d%d", amount(result), FD_ISSET(fd, &in) != 0, FD_ISSET(fd, &out) != 0,
	    FD_ISSET(fd, &except) != 0);
	result = select(fd, &in, NULL, NULL, &now);
	say(" fewer=%s:%d", amount(result), FD_ISSET(fd, &in) != 0);
	close(fd);
	FD_SET(fd, &in);
	say(" closed=%s", amount(select(fd + 1, &in, NULL, NULL, &now)));
	say(" -1=%s", amount(select(-1, &in, NULL, NULL, &now)));
}

/* Descriptors that are none, or names alone. */
static void poll_no_file(void)
{
	int fd = open_device(O_RDWR), path = open_device(O_PATH);

	say_poll("path", path, ALL);
	close(fd);
	say_poll("closed", fd, ALL);
	say_poll("closed_none", fd, 0);
	say_poll("minus", -1, ALL);
}

/* Arguments of poll itself. */
static void poll_arguments(void)
{
	struct rlimit few = { 64, 64 };
	struct pollfd one = { open_device(O_RDWR), ALL, 0x55 }, *end = (struct pollfd *)edge();
	struct timespec bad = { 0, 1000000000 }, negative = { -1, 0 }, zero = { 0, 0 };

	setrlimit(RLIMIT_NOFILE, &few);
	end[-1] = one;
	say("null=%s", status(syscall(SYS_ppoll, NULL, 1, &zero, NULL, 0)));
	say(" kernel=%s", status(syscall(SYS_ppoll, KERNEL_ADDRESS, 1, &zero, NULL, 0)));
	say(" over_edge=%s", status(syscall(SYS_ppoll, end - 1, 2, &zero, NULL, 0)));
	say(" many=%s", status(syscall(SYS_ppoll, &one, 65, &zero, NULL, 0)));
	say(" none=%s", status(syscall(SYS_ppoll, NULL, 0, &zero, NULL, 0)));
	say(" nsec=%s", status(syscall(SYS_ppoll, &one, 1, &bad, NULL, 0)));
	say(" negative=%s", status(syscall(SYS_ppoll, &one, 1, &negative, NULL, 0)));
	say(" sigset=%s", status(syscall(SYS_ppoll, &one, 1, &zero, &one, 3)));
	say(" untouched=%#x", one.revents);
	say(" fine=%s", amount(syscall(SYS_ppoll, &one, 1, &zero, NULL, 0)));
	say(":%s", text_of_mask((unsigned short)one.revents));
}

/* One file by several descriptors, and the same descriptor twice. */
static void poll_several(void)
{
	int fd = open_device(O_RDWR);
	struct pollfd many[] = {
		{ fd, POLLIN, 0 }, { dup(fd), POLLIN | POLLOUT, 0 }, { open_device(O_RDWR), POLLIN, 0 },
		{ fd, 0, 0 }, { -1, POLLIN, 7 }, { 999, POLLIN, 0 },
	};
	size_t i;

	set_mask(POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM);
	say("%s", amount(poll(many, 6, 0)));
	for (i = 0; i < 6; i++)
		say(":%s", text_of_mask((unsigned short)many[i].revents));
}

/* Let a child change the mask in a moment. */
static void in_a_moment(unsigned int mask)
{
	if (fork())
		return;
	usleep(50000);
	set_mask(mask);
	_exit(0);
}

/* Nothing is ready any more. */
static void take_back(void)
{
	while (wait(NULL) > 0)
		;
	set_mask(0);
}

/* A wait ends when the driver wakes it, and does not end when what it says is of no interest. */
static void poll_woken(void)
{
	struct pollfd one = { open_device(O_RDWR), POLLIN, 0 };
	int result;

	in_a_moment(POLLIN | POLLRDNORM);
	result = poll(&one, 1, LONG_ENOUGH);
	say("in=%s:%s", amount(result), text_of_mask((unsigned short)one.revents));
	take_back();
	in_a_moment(POLLHUP);
	result = poll(&one, 1, LONG_ENOUGH);
	say(" hup=%s:%s", amount(result), text_of_mask((unsigned short)one.revents));
	take_back();
	in_a_moment(POLLERR);
	one.events = 0;
	result = poll(&one, 1, LONG_ENOUGH);
	say(" err=%s:%s", amount(result), text_of_mask((unsigned short)one.revents));
	take_back();
	in_a_moment(POLLOUT);
	one.events = POLLIN;
	result = poll(&one, 1, 200);
	say(" out=%s:%s", amount(result), text_of_mask((unsigned short)one.revents));
	one.events = POLLPRI;
	take_back();
	in_a_moment(POLLPRI);
	result = poll(&one, 1, LONG_ENOUGH);
	say(" pri=%s:%s", amount(result), text_of_mask((unsigned short)one.revents));
}

/* The same with select. */
static void select_woken(void)
{
	struct timeval limit = { LONG_ENOUGH / 1000, 0 };
	int fd = open_device(O_RDWR), result;
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	in_a_moment(POLLIN | POLLRDNORM);
	result = select(fd + 1, &set, NULL, NULL, &limit);
	say("in=%s:%d", amount(result), FD_ISSET(fd, &set) != 0);
	take_back();
	FD_SET(fd, &set);
	in_a_moment(POLLPRI);
	result = select(fd + 1, NULL, NULL, &set, &limit);
	say(" pri=%s:%d", amount(result), FD_ISSET(fd, &set) != 0);
	take_back();
	limit = (struct timeval){ 0, 50000 };
	say(" nothing=%s", amount(select(fd + 1, &set, NULL, NULL, &limit)));
	say(" left=%ld", (long)limit.tv_sec * 1000000 + limit.tv_usec);
}

static void on_alarm(int number)
{
	(void)number;
}

/* A wait that a signal ends, and one that is over at once or in time. */
static void poll_ended(void)
{
	struct pollfd one = { open_device(O_RDWR), POLLIN, 0 };
	char byte;

	sigaction(SIGALRM, &(struct sigaction){ .sa_handler = on_alarm }, NULL);
	say("now=%s", amount(poll(&one, 1, 0)));
	say(" soon=%s", amount(poll(&one, 1, 20)));
	ualarm(50000, 50000);	/* again and again: the first may come too early */
	say(" signal=%s", amount(poll(&one, 1, LONG_ENOUGH)));
	say(" read=%s", amount(read(one.fd, &byte, 1)));
	ualarm(0, 0);
	set_mask(POLLIN);
	say(" after=%s", amount(poll(&one, 1, -1)));
	say(" read=%s", amount(read(one.fd, &byte, 1)));
}

/* A read that waits is ended by the driver, with data or at the end of all. */
static void read_woken(void)
{
	int fd = open_device(O_RDWR);
	char to[8];

	in_a_moment(POLLIN);
	say("in=%s", amount(read(fd, to, 8)));
	take_back();
	in_a_moment(POLLHUP);
	say(" hup=%s", amount(read(fd, to, 4)));
	take_back();
	in_a_moment(POLLOUT);
	say(" write=%s", amount(write(fd, to, 8)));
	take_back();
	fcntl(fd, F_SETFL, O_NONBLOCK);
	say(" nonblock=%s", amount(read(fd, to, 8)));
	fcntl(fd, F_SETFL, 0);
	in_a_moment(POLLIN);
	say(" again=%s", amount(read(fd, to, 8)));
}

const struct row polling_rows[] = {
	ROW(poll_as_opened),
	ROW(poll_each_bit),
	ROW(poll_taken_back),
	ROW(poll_after_use),
	ROW(select_each_bit),
	ROW(select_as_opened),
	ROW(poll_no_file),
	ROW(poll_arguments),
	ROW(poll_several),
	ROW(poll_woken),
	ROW(select_woken),
	ROW(poll_ended),
	ROW(read_woken),
	{ },
};
