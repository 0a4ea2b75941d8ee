// SPDX-License-Identifier: MIT
/*
 * storm KIND SEED: do one thing with /dev/frames, /dev/faults or /dev/waits again and again, for a
 * test that kills the process at any moment. KIND "forks" ends by itself: a tree of processes
 * that inherit mappings, change and touch them, execute a program and end in all ways there are.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 16
static long page;
static unsigned seed;

static int pick(int below)
{
	return rand_r(&seed) / 7 % below;
}

static int device(const char *node)
{
	int fd = open(node, O_RDWR);

	if (fd < 0)
		_exit(3);
	return fd;
}

static char *map(int fd)
{
	int kind = pick(4) ? MAP_SHARED : MAP_PRIVATE;
	char *p = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, kind, fd, 0);

	/* Memory of contiguous frames can't be mapped privately piece by piece: that is no failure. */
	return p == MAP_FAILED ? mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : p;
}

static void touch(char *p, int times)
{
	for (int i = 0; i < times; i++)
		((volatile char *)p)[pick(PAGES) * page] += 1;
}

/* One change of an area that is PAGES long; what is left of it is unmapped by the caller. */
static char *change(char *p)
{
	char *q;

	switch (pick(5)) {
	case 0:
		munmap(p + pick(PAGES) * page, page);
		return NULL;
	case 1:
		mprotect(p + pick(PAGES) * page, page, PROT_READ);
		return NULL;
	case 2:
		q = mremap(p, PAGES * page, PAGES * page, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
		if (q != MAP_FAILED)
			munmap(q, PAGES * page);
		return NULL;
	case 3:
		q = mmap(NULL, PAGES * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		p = mremap(p, PAGES * page, PAGES * page, MREMAP_MAYMOVE | MREMAP_FIXED, q);
		return p == MAP_FAILED ? NULL : p;
	default:
		madvise(p + pick(PAGES) * page, page, MADV_DONTNEED);
		return p;
	}
}

static void *mapping(void *node)
{
	int fd = device(node);

	for (;;) {
		char *p = map(fd);

		touch(p, 4);
		munmap(p, PAGES * page);
	}
	return NULL;
}

static void changing(const char *node)
{
	int fd = device(node);

	for (;;) {
		char *p = map(fd), *q = change(p);

		if (q)
			touch(q, 2);
		munmap(p, PAGES * page);
		if (q && q != p)
			munmap(q, PAGES * page);
	}
}

static void reading(void)
{
	int fd = device("/dev/waits");
	char buffer[8];

	for (;;)
		if (read(fd, buffer, sizeof(buffer)) < 0)
			_exit(4);
}

static void polling(void)
{
	int fd = device("/dev/waits"), queue = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	epoll_ctl(queue, EPOLL_CTL_ADD, fd, &event);
	for (;;) {
		poll(&pollfd, 1, 1);
		epoll_wait(queue, &event, 1, 1);
		if (write(fd, "x", 1) < 0)
			_exit(5);
	}
}

static void forking(void)
{
	char *p = map(device("/dev/frames")), *q = map(device("/dev/faults"));

	for (;;) {
		pid_t pid = fork();

		touch(q, 2);
		if (!pid) {
			touch(p, 1);
			if (pick(2))
				execl("/proc/self/exe", "storm", "nothing", "0", NULL);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
	}
}

/* A process of the tree, which has inherited p and q. */
static void branch(char *p, char *q, int depth)
{
	int fd = device(pick(2) ? "/dev/frames" : "/dev/faults");

	for (int i = 0; i < 3; i++) {
		touch(q, 2);
		touch(p, 1);
		if (pick(2)) {
			char *new = map(fd), *moved = change(new);

			if (moved)
				touch(moved, 2);
			if (pick(2))
				munmap(new, PAGES * page);
		}
		if (depth > 0 && pick(3)) {
			seed += 7919;
			if (!fork()) {
				branch(p, q, depth - 1);
				_exit(0);
			}
		}
		if (!pick(4))
			munmap(q + (PAGES - 1) * page, page);
	}
	switch (pick(6)) {
	case 0:
		execl("/proc/self/exe", "storm", "nothing", "0", NULL);
		_exit(6);
	case 1:
		kill(getpid(), SIGKILL);
		break;
	case 2:
		syscall(SYS_exit, 0);
		break;
	case 3:
		break;
	default:
		while (wait(NULL) > 0)
			;
	}
}

static void die_late(int number)
{
	(void)number;
	_exit(0);
}

int main(int argc, char **argv)
{
	const char *kind = argc > 2 ? argv[1] : "";
	pthread_t thread;

	seed = argc > 2 ? atoi(argv[2]) : 0;
	page = sysconf(_SC_PAGESIZE);
	if (!strcmp(kind, "map"))
		mapping(pick(2) ? "/dev/frames" : "/dev/faults");
	if (!strcmp(kind, "threads")) {
		for (int i = 0; i < 3; i++)
			pthread_create(&thread, NULL, mapping, i & 1 ? "/dev/frames" : "/dev/faults");
		mapping("/dev/faults");
	}
	if (!strcmp(kind, "change"))
		changing(pick(2) ? "/dev/frames" : "/dev/faults");
	if (!strcmp(kind, "read"))
		reading();
	if (!strcmp(kind, "poll"))
		polling();
	if (!strcmp(kind, "fork"))
		forking();
	if (!strcmp(kind, "forks")) {
		/* A page that is unmapped may be touched: then the process ends by that. */
		signal(SIGSEGV, die_late);
		signal(SIGBUS, die_late);
		branch(map(device("/dev/frames")), map(device("/dev/faults")), 2);
	}
	return 0;
}
