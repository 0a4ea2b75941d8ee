// SPDX-License-Identifier: MIT
/*
 * Looks at files by epoll and ppoll as it is told to, line by line, and answers with a line each.
 * The files are opens of a device, or, as a model of what a driver in C does, eventfds.
 *
 *   events PATH|eventfd
 *
 *   open                     0-based number of the new file
 *   add|mod|del E F EVENTS   epoll_ctl of epoll E (0 to 3) and file F; EVENTS is a number
 *   wait E MS                epoll_wait: FILE:EVENTS of each event, or none
 *   pending E MS             epoll_pwait that unblocks a signal which is pending
 *   ppoll F EVENTS MS        ppoll that unblocks a signal which is pending: events, none or EINTR
 *   read F                   what was read, or the errno
 *   signal F                 make an eventfd readable; no answer
 *   clear F                  read an eventfd
 *   exclusive F N            N threads wait, each in an epoll of its own, with EPOLLEXCLUSIVE:
 *                            "tid TID" each, then "ready", later "woken VALUE" as they wake up;
 *                            VALUE is then that of ioctl 0x7802, or of the eventfd's counter
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int files[16], nr_files, epolls[4], is_model;
static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t started;

static void ignore(int number)
{
	(void)number;
}

static void check(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
}

static void failed(void)
{
	printf("%s\n", strerrorname_np(errno));
}

static void make_pending(sigset_t *unblocked)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	check(sigprocmask(SIG_BLOCK, &set, unblocked), "sigprocmask");
	raise(SIGUSR1);
}

static void take_pending(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	check(sigprocmask(SIG_UNBLOCK, &set, NULL), "sigprocmask");
}

static void wait_events(int epoll, int ms, int pending)
{
	struct epoll_event events[16];
	sigset_t unblocked;
	int n;

	if (pending) {
		make_pending(&unblocked);
		n = epoll_pwait(epoll, events, 16, ms, &unblocked);
	} else {
		n = epoll_wait(epoll, events, 16, ms);
	}
	if (n < 0)
		failed();
	else if (!n)
		puts("none");
	for (int i = 0; i < n; i++)
		printf("%d:%u%c", (int)events[i].data.u64, events[i].events, i < n - 1 ? ' ' : '\n');
	if (pending)
		take_pending();
}

static void poll_pending(int fd, int events, int ms)
{
	struct pollfd file = { fd, events, 0 };
	struct timespec limit = { ms / 1000, ms % 1000 * 1000000 };
	sigset_t unblocked;
	int n;

	make_pending(&unblocked);
	n = ppoll(&file, 1, &limit, &unblocked);
	if (n < 0)
		failed();
	else if (!n)
		puts("none");
	else
		printf("%d\n", file.revents);
	take_pending();
}

static void control(int epoll, int operation, int file, unsigned int events)
{
	struct epoll_event event = { events, { .u64 = file } };

	if (epoll_ctl(epoll, operation, files[file], &event))
		failed();
	else
		puts("ok");
}

static int counter(int file)
{
	char path[64], line[128];
	unsigned int value = 0;
	FILE *info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", file);
	info = fopen(path, "r");
	while (info && fgets(line, sizeof(line), info))
		sscanf(line, "eventfd-count: %x", &value);
	if (info)
		fclose(info);
	return value;
}

static void *wait_alone(void *argument)
{
	int file = (intptr_t)argument, epoll = epoll_create1(0);
	struct epoll_event event = { EPOLLIN | EPOLLEXCLUSIVE, { 0 } };
	int value;

	check(epoll, "epoll_create1");
	check(epoll_ctl(epoll, EPOLL_CTL_ADD, files[file], &event), "epoll_ctl");
	pthread_mutex_lock(&output);
	printf("tid %d\n", gettid());
	pthread_mutex_unlock(&output);
	pthread_barrier_wait(&started);
	while (epoll_wait(epoll, &event, 1, -1) < 1)
		;
	value = is_model ? counter(files[file]) : ioctl(files[file], 0x7802, 0);
	pthread_mutex_lock(&output);
	printf("woken %d\n", value);
	pthread_mutex_unlock(&output);
	return NULL;
}

static void exclusive(int file, int count)
{
	pthread_t thread;

	pthread_barrier_init(&started, NULL, count + 1);
	for (int i = 0; i < count; i++)
		check(-pthread_create(&thread, NULL, wait_alone, (void *)(intptr_t)file), "thread");
	pthread_barrier_wait(&started);
	puts("ready");
}

int main(int argc, char **argv)
{
	char line[256], word[32], data[256];
	uint64_t one = 1;

	if (argc != 2)
		return 2;
	is_model = !strcmp(argv[1], "eventfd");
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGUSR1, ignore);
	for (int i = 0; i < 4; i++)
		check(epolls[i] = epoll_create1(0), "epoll_create1");
	while (fgets(line, sizeof(line), stdin)) {
		int a = 0, b = 0, n;
		unsigned int c = 0;

		sscanf(line, "%31s %d %d %u", word, &a, &b, &c);
		if (!strcmp(word, "open")) {
			files[nr_files] = is_model ? eventfd(0, EFD_NONBLOCK)
						   : open(argv[1], O_RDWR | O_NONBLOCK);
			check(files[nr_files], argv[1]);
			printf("%d\n", nr_files++);
		} else if (!strcmp(word, "add")) {
			control(epolls[a], EPOLL_CTL_ADD, b, c);
		} else if (!strcmp(word, "mod")) {
			control(epolls[a], EPOLL_CTL_MOD, b, c);
		} else if (!strcmp(word, "del")) {
			control(epolls[a], EPOLL_CTL_DEL, b, c);
		} else if (!strcmp(word, "wait")) {
			wait_events(epolls[a], b, 0);
		} else if (!strcmp(word, "pending")) {
			wait_events(epolls[a], b, 1);
		} else if (!strcmp(word, "ppoll")) {
			poll_pending(files[a], b, c);
		} else if (!strcmp(word, "exclusive")) {
			exclusive(a, b);
		} else if (!strcmp(word, "signal")) {
			check(write(files[a], &one, sizeof(one)), "write");
		} else if (!strcmp(word, "clear") || !strcmp(word, "read")) {
			n = read(files[a], data, sizeof(data) - 1);
			if (n < 0) {
				failed();
			} else {
				data[n] = 0;
				puts(is_model ? "ok" : data);
			}
		} else {
			return 2;
		}
	}
	return 0;
}
