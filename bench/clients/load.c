// SPDX-License-Identifier: MIT
/*
 * load DEVICE CLIENTS CALLS: CLIENTS processes make CALLS calls each, of all kinds, and what one of
 * them costs is said: "time", of the clock, and "host", of the processor time that the host, our
 * parent, has used. A host does one call after another, so that neither should grow with CLIENTS.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

enum { CALLS_A_ROUND = 9 };

/* Nanoseconds that all threads of process `pid` have run. */
static double used_by(int pid)
{
	char path[64], name[128];
	double sum = 0;
	struct dirent *entry;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	if (!tasks)
		die(path);
	while ((entry = readdir(tasks))) {
		double used;
		FILE *file;

		snprintf(name, sizeof(name), "%s/%.20s/schedstat", path, entry->d_name);
		file = fopen(name, "r");
		if (!file)
			continue;
		if (fscanf(file, "%lf", &used) == 1)
			sum += used;
		fclose(file);
	}
	closedir(tasks);
	return sum;
}

/* Opens, maps, reads, writes, asks; a write makes the device readable, a read takes that back. */
static void calls(const char *path, long page)
{
	struct bench_exchange exchange = {1, 0};
	struct pollfd entry = {.events = POLLIN};
	char data[64] = "data";
	void *p;
	int fd = open(path, O_RDWR);

	if (fd < 0)
		die(path);
	if (write(fd, data, sizeof(data)) < 0 || ioctl(fd, BENCH_PING, 0))
		die("a call");
	entry.fd = fd;
	poll(&entry, 1, 0);
	if (read(fd, data, sizeof(data)) < 0 || ioctl(fd, BENCH_EXCHANGE, &exchange))
		die("a call");
	p = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		die("mmap");
	munmap(p, page);
	close(fd);
}

int main(int argc, char **argv)
{
	static pid_t pids[1024];
	int clients, begin[2], ready[2], failed = 0;
	long rounds, page = sysconf(_SC_PAGESIZE);
	double start, used;
	char byte;

	if (argc < 4 || pipe(begin) || pipe(ready))
		return 2;
	clients = atoi(argv[2]);
	if (clients > (int)(sizeof(pids) / sizeof(*pids)))
		return 2;
	rounds = atol(argv[3]) / CALLS_A_ROUND;
	rounds = rounds < 1 ? 1 : rounds;
	for (int i = 0; i < clients; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			die("fork");
		if (pids[i])
			continue;
		close(begin[1]);
		calls(argv[1], page); /* what is done once for a process is not measured */
		if (write(ready[1], "", 1) != 1 || read(begin[0], &byte, 1) < 0)
			_exit(1);
		for (long round = 0; round < rounds; round++)
			calls(argv[1], page);
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		pause(); /* the end of a process is not measured */
	}
	for (int i = 0; i < clients; i++)
		if (read(ready[0], &byte, 1) != 1)
			die("read");
	used = used_by(getppid());
	start = now();
	close(begin[0]);
	close(begin[1]);
	for (int i = 0; i < clients; i++)
		if (read(ready[0], &byte, 1) != 1)
			die("read");
	report("time", now() - start, (double)clients * rounds * CALLS_A_ROUND);
	report("host", used_by(getppid()) - used, (double)clients * rounds * CALLS_A_ROUND);
	for (int i = 0; i < clients; i++) {
		int status;

		kill(pids[i], SIGKILL);
		if (waitpid(pids[i], &status, 0) < 0 || !WIFSIGNALED(status))
			failed = 1;
	}
	return failed;
}
