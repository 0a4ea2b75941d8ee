// SPDX-License-Identifier: MIT
/*
 * What all clients share: the clock, and one line of output for each batch: a name and nanoseconds
 * for each operation of the batch.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>

struct bench_exchange {
	unsigned long long in, out;
};

#define BENCH_PING _IO('b', 1)
#define BENCH_EXCHANGE _IOWR('b', 2, struct bench_exchange)
#define BENCH_WAIT _IO('b', 3)

static inline double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static inline void report(const char *name, double nanoseconds, double operations)
{
	printf("%s %.1f\n", name, nanoseconds / operations);
}

static inline void die(const char *what)
{
	perror(what);
	exit(1);
}

#endif
