// SPDX-License-Identifier: MIT
/*
 * crowd DEVICE BATCHES COUNT: time an ioctl while 1, 10 and 100 other processes wait inside one of
 * theirs, and while others have 1,000 files open; before each, time it alone ("alone:...").
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

enum { FILES_EACH = 100 };

static int batches;
static long count;

static void measure(int fd, const char *kind, int number)
{
	char name[32];

	snprintf(name, sizeof(name), "%s:%d", kind, number);
	for (int batch = -1; batch < batches; batch++) {
		double start = now();

		for (long i = 0; i < count; i++)
			if (ioctl(fd, BENCH_PING, 0))
				die("ioctl");
		if (batch >= 0)
			report(name, now() - start, count);
	}
}

static pid_t start(const char *path, int files, int ready)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid)
		return pid;
	for (int i = 0; i < (files ? files : 1); i++) {
		int fd = open(path, O_RDWR);

		if (fd < 0)
			die(path);
		if (!files) {
			if (write(ready, "", 1) != 1)
				die("write");
			ioctl(fd, BENCH_WAIT, 0);
			_exit(1);
		}
	}
	if (write(ready, "", 1) != 1)
		die("write");
	for (;;)
		pause();
}

static void among(const char *path, int fd, const char *kind, int number, int processes, int files)
{
	pid_t pids[128];
	int ready[2];
	char byte;

	measure(fd, "alone", number);
	if (pipe(ready))
		die("pipe");
	for (int i = 0; i < processes; i++)
		pids[i] = start(path, files, ready[1]);
	for (int i = 0; i < processes; i++)
		if (read(ready[0], &byte, 1) != 1)
			die("read");
	usleep(50000); /* the last one is in its ioctl by now */
	measure(fd, kind, number);
	for (int i = 0; i < processes; i++)
		kill(pids[i], SIGKILL);
	for (int i = 0; i < processes; i++)
		waitpid(pids[i], NULL, 0);
	close(ready[0]);
	close(ready[1]);
	usleep(50000);
}

int main(int argc, char **argv)
{
	int fd;

	if (argc < 4)
		return 2;
	batches = atoi(argv[2]);
	count = atol(argv[3]);
	fd = open(argv[1], O_RDWR);
	if (fd < 0)
		die(argv[1]);
	setbuf(stdout, NULL);
	among(argv[1], fd, "waiting", 1, 1, 0);
	among(argv[1], fd, "waiting", 10, 10, 0);
	among(argv[1], fd, "waiting", 100, 100, 0);
	among(argv[1], fd, "open", 1000, 1000 / FILES_EACH, FILES_EACH);
	return 0;
}
