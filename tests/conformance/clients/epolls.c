// SPDX-License-Identifier: MIT
/* epoll(7): which files it takes, what it says once, always and never again. */
#define _GNU_SOURCE
#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "row.h"

#define LONG_ENOUGH 5000	/* ms: ends a wait that nothing else ends */

static int control(int epoll, int operation, int fd, unsigned int events)
{
	struct epoll_event event = { .events = events, .data.u64 = 0x1122334455667788 };

	return epoll_ctl(epoll, operation, fd, &event);
}

static void say_wait(const char *name, int epoll, int limit)
{
	struct epoll_event events[4] = { };
	int result = epoll_wait(epoll, events, 4, limit), i;

	say(" %s=%s", name, amount(result));
	for (i = 0; i < result; i++)
		say(":%s", text_of_mask(events[i].events));
}

/* Which files can be added: those with a poll operation. */
static void epoll_add(void)
{
	int epoll = epoll_create1(0), fd = open_device(O_RDWR), path = open_device(O_PATH);

	say("add=%s", status(control(epoll, EPOLL_CTL_ADD, fd, EPOLLIN)));
	say(" again=%s", status(control(epoll, EPOLL_CTL_ADD, fd, EPOLLIN)));
	say(" dup=%s", status(control(epoll, EPOLL_CTL_ADD, dup(fd), EPOLLIN)));
	say(" mod=%s", status(control(epoll, EPOLL_CTL_MOD, fd, EPOLLOUT)));
	say(" del=%s", status(control(epoll, EPOLL_CTL_DEL, fd, 0)));
	say(" del_again=%s", status(control(epoll, EPOLL_CTL_DEL, fd, 0)));
	say(" mod_none=%s", status(control(epoll, EPOLL_CTL_MOD, fd, 0)));
	say(" path=%s", status(control(epoll, EPOLL_CTL_ADD, path, EPOLLIN)));
	say(" bad=%s", status(control(epoll, EPOLL_CTL_ADD, 999, EPOLLIN)));
	say(" op=%s", status(control(epoll, 9, fd, EPOLLIN)));
	say(" null=%s", status(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, NULL)));
	say(" in_device=%s", status(control(fd, EPOLL_CTL_ADD, epoll, EPOLLIN)));
	say(" rdonly=%s", status(control(epoll, EPOLL_CTL_ADD, open_device(O_RDONLY), EPOLLOUT)));
	say(" neither=%s", status(control(epoll, EPOLL_CTL_ADD, open_device(O_ACCMODE), EPOLLIN)));
}

/* Each bit of a mask, asked for all and for none. */
static void epoll_each_bit(void)
{
	static const unsigned int bits[] = {
		EPOLLIN, EPOLLPRI, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDNORM, EPOLLRDBAND,
		EPOLLWRNORM, EPOLLWRBAND, EPOLLMSG, EPOLLRDHUP,
	};
	int all = epoll_create1(0), none = epoll_create1(0), fd = open_device(O_RDWR);
	size_t i;

	control(all, EPOLL_CTL_ADD, fd, 0x3fff);
	control(none, EPOLL_CTL_ADD, fd, 0);
	for (i = 0; i < sizeof(bits) / sizeof(*bits); i++) {
		set_mask(bits[i]);
		say_wait(text_of_mask(bits[i]), all, 0);
		say_wait("none", none, 0);
	}
	set_mask(0);
	say_wait("0", all, 0);
}

/* Level-triggered: as long as it is so. */
static void epoll_level(void)
{
	int epoll = epoll_create1(0), fd = open_device(O_RDWR);
	char to[8];

	control(epoll, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT);
	say_wait("before", epoll, 0);
	set_mask(EPOLLIN);
	say_wait("in", epoll, 0);
	say_wait("again", epoll, 0);
	say(" read=%s", amount(read(fd, to, 8)));
	say_wait("after_read", epoll, 0);
	set_mask(EPOLLHUP);
	say_wait("hup", epoll, 0);
	set_mask(0);
	say_wait("gone", epoll, 0);
	set_mask(EPOLLERR | EPOLLOUT);
	say_wait("err", epoll, 0);
	set_mask(EPOLLIN);
	say_wait("in", epoll, 0);
}

/* Edge-triggered: once for each time that the driver wakes. */
static void epoll_edge(void)
{
	int epoll = epoll_create1(0), fd = open_device(O_RDWR);
	char to[8];

	set_mask(EPOLLIN);
	control(epoll, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET);
	say_wait("ready_when_added", epoll, 0);
	say_wait("again", epoll, 0);
	set_mask(EPOLLIN);
	say_wait("woken", epoll, 0);
	say_wait("again", epoll, 0);
	say(" read=%s", amount(read(fd, to, 8)));
	say_wait("after_read", epoll, 0);
	set_mask(EPOLLOUT);
	say_wait("other", epoll, 0);
	set_mask(EPOLLIN);
	set_mask(0);
	say_wait("taken_back", epoll, 0);
	set_mask(EPOLLIN);
	control(epoll, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLET);
	say_wait("modified", epoll, 0);
	control(epoll, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLET);
	say_wait("modified_again", epoll, 0);
}

/* One shot: once until it is set again. */
static void epoll_oneshot(void)
{
	int epoll = epoll_create1(0), fd = open_device(O_RDWR);

	control(epoll, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLONESHOT);
	set_mask(EPOLLIN);
	say_wait("first", epoll, 0);
	set_mask(EPOLLIN);
	say_wait("woken", epoll, 0);
	set_mask(EPOLLHUP);
	say_wait("hup", epoll, 0);
	say(" mod=%s", status(control(epoll, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT)));
	say_wait("set_again", epoll, 0);
	say_wait("again", epoll, 0);
}

/* EPOLLEXCLUSIVE and EPOLLWAKEUP, and what may go with them. */
static void epoll_exclusive(void)
{
	int epoll = epoll_create1(0), fd = open_device(O_RDWR), inner = epoll_create1(0);

	say("add=%s", status(control(epoll, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLEXCLUSIVE)));
	say(" mod=%s", status(control(epoll, EPOLL_CTL_MOD, fd, EPOLLIN)));
	say(" del=%s", status(control(epoll, EPOLL_CTL_DEL, fd, 0)));
	say(" oneshot=%s",
	    status(control(epoll, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT)));
	say(" pri=%s", status(control(epoll, EPOLL_CTL_ADD, fd, EPOLLPRI | EPOLLEXCLUSIVE)));
	say(" epoll=%s", status(control(epoll, EPOLL_CTL_ADD, inner, EPOLLIN | EPOLLEXCLUSIVE)));
	say(" mod_to=%s", status(control(epoll, EPOLL_CTL_MOD, inner, EPOLLIN | EPOLLEXCLUSIVE)));
	say(" wakeup=%s", status(control(epoll, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLWAKEUP)));
	set_mask(EPOLLIN);
	say_wait("wait", epoll, 0);
}

/* An epoll in an epoll, and one in poll. */
static void epoll_nested(void)
{
	int outer = epoll_create1(0), inner = epoll_create1(0), fd = open_device(O_RDWR);
	struct pollfd one = { outer, POLLIN, 0 };

	control(inner, EPOLL_CTL_ADD, fd, EPOLLIN);
	say("add=%s", status(control(outer, EPOLL_CTL_ADD, inner, EPOLLIN)));
	say_wait("before", outer, 0);
	set_mask(EPOLLIN);
	say_wait("outer", outer, 0);
	say_wait("inner", inner, 0);
	say(" poll=%s", amount(poll(&one, 1, 0)));
	say(":%s", text_of_mask(one.revents));
	set_mask(0);
	say_wait("outer", outer, 0);
	say_wait("inner", inner, 0);
	say(" poll=%s", amount(poll(&one, 1, 0)));
	set_mask(EPOLLIN);
	say(" poll=%s", amount(poll(&one, 1, 0)));
}

/* What epoll keeps is the open file: it goes with its last descriptor. */
static void epoll_closed(void)
{
	int epoll = epoll_create1(0), fd = open_device(O_RDWR), twin = dup(fd);

	set_mask(EPOLLIN);
	control(epoll, EPOLL_CTL_ADD, fd, EPOLLIN);
	watch();
	close(fd);
	say_wait("dup_open", epoll, 0);
	say(" del=%s", status(control(epoll, EPOLL_CTL_DEL, fd, 0)));
	say(" del_dup=%s", status(control(epoll, EPOLL_CTL_DEL, twin, 0)));
	say_ran("drv");
	close(twin);
	say_wait("closed", epoll, 0);
	say_ran("drv");
}

/* Closed while another process has it: it stays, and it is counted as one open file. */
static void epoll_in_child(void)
{
	int epoll = epoll_create1(0), fd = open_device(O_RDWR), ends[2];
	char byte;

	if (pipe(ends))
		return;
	control(epoll, EPOLL_CTL_ADD, fd, EPOLLIN);
	watch();
	if (!fork()) {
		close(ends[1]);
		if (read(ends[0], &byte, 1))
			_exit(1);
		_exit(0);
	}
	close(fd);
	set_mask(EPOLLIN);
	say_wait("child_has_it", epoll, 0);
	say_ran("drv");
	close(ends[1]);
	wait(NULL);
	say_wait("gone", epoll, 0);
	say_ran("drv");
}

/* Several files of one device, and both descriptors of one file. */
static void epoll_several(void)
{
	int epoll = epoll_create1(0), fd = open_device(O_RDWR);
	struct epoll_event one;

	control(epoll, EPOLL_CTL_ADD, fd, EPOLLIN);
	control(epoll, EPOLL_CTL_ADD, dup(fd), EPOLLOUT);
	control(epoll, EPOLL_CTL_ADD, open_device(O_RDWR), EPOLLIN | EPOLLOUT);
	set_mask(EPOLLIN);
	say_wait("in", epoll, 0);
	set_mask(EPOLLOUT);
	say_wait("out", epoll, 0);
	set_mask(EPOLLIN | EPOLLOUT);
	say_wait("both", epoll, 0);
	say(" one=%s", amount(epoll_wait(epoll, &one, 1, 0)));
	say(" data=%d", one.data.u64 == 0x1122334455667788);
	say(" zero=%s", amount(epoll_wait(epoll, &one, 0, 0)));
	say(" minus=%s", amount(syscall(SYS_epoll_pwait, epoll, &one, -1, 0, NULL, 0)));
	say(" kernel=%s", amount(epoll_wait(epoll, (void *)KERNEL_ADDRESS, 1, 0)));
	say(" device=%s", amount(epoll_wait(fd, &one, 1, 0)));
}

/* A wait ends when the driver wakes it. */
static void epoll_woken(void)
{
	static const unsigned int masks[] = { EPOLLIN, EPOLLHUP, EPOLLERR, EPOLLPRI, EPOLLRDHUP };
	int epoll = epoll_create1(0), fd = open_device(O_RDWR);
	size_t i;

	control(epoll, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLPRI | EPOLLRDHUP);
	for (i = 0; i < sizeof(masks) / sizeof(*masks); i++) {
		if (!fork()) {
			usleep(50000);
			set_mask(masks[i]);
			_exit(0);
		}
		say_wait(text_of_mask(masks[i]), epoll, LONG_ENOUGH);
		wait(NULL);
		set_mask(0);
	}
	say_wait("nothing", epoll, 20);
}

/* What stands in the place of the epoll instance: which error is first? */
static void epoll_instances(void)
{
	int epoll = epoll_create1(0), fd = open_device(O_RDWR), path = open_device(O_PATH);
	int plain = open("/dev/null", O_RDWR), plain_path = open("/dev/null", O_PATH);
	struct epoll_event event;

	say("path=%s", status(control(plain_path, EPOLL_CTL_ADD, fd, EPOLLIN)));
	say(" device_path=%s", status(control(path, EPOLL_CTL_ADD, fd, EPOLLIN)));
	say(" both_path=%s", status(control(path, EPOLL_CTL_ADD, path, EPOLLIN)));
	say(" plain=%s", status(control(plain, EPOLL_CTL_ADD, fd, EPOLLIN)));
	say(" device=%s", status(control(fd, EPOLL_CTL_ADD, fd, EPOLLIN)));
	say(" closed=%s", status(control(999, EPOLL_CTL_ADD, fd, EPOLLIN)));
	say(" plain_of_path=%s", status(control(plain, EPOLL_CTL_ADD, path, EPOLLIN)));
	say(" itself=%s", status(control(epoll, EPOLL_CTL_ADD, epoll, EPOLLIN)));
	say(" null=%s", status(epoll_ctl(plain_path, EPOLL_CTL_ADD, fd, NULL)));
	say(" del_null=%s", status(epoll_ctl(plain_path, EPOLL_CTL_DEL, fd, NULL)));
	say(" op=%s", status(control(plain_path, 9, fd, EPOLLIN)));
	say(" wait_path=%s", status(epoll_wait(plain_path, &event, 1, 0)));
	say(" wait_device=%s", status(epoll_wait(fd, &event, 1, 0)));
	say(" wait_device_path=%s", status(epoll_wait(path, &event, 1, 0)));
	say(" exclusive=%s", status(control(epoll, EPOLL_CTL_ADD, fd,
					    EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT)));
	say(" exclusive_mod=%s", status(control(epoll, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLEXCLUSIVE)));
}

const struct row epoll_rows[] = {
	ROW(epoll_add),
	ROW(epoll_instances),
	ROW(epoll_each_bit),
	ROW(epoll_level),
	ROW(epoll_edge),
	ROW(epoll_oneshot),
	ROW(epoll_exclusive),
	ROW(epoll_nested),
	ROW(epoll_closed),
	ROW(epoll_in_child),
	ROW(epoll_several),
	ROW(epoll_woken),
	{ },
};
