// SPDX-License-Identifier: MIT
/*
 * spawn COUNT COMMAND [ARGUMENT]...: time a command, from its start to its end, and its peak memory
 * (KiB). What it prints goes to /dev/null.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

extern char **environ;

int main(int argc, char **argv)
{
	posix_spawn_file_actions_t actions;

	if (argc < 3)
		return 2;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	for (long i = 0; i < atol(argv[1]); i++) {
		double start = now();
		struct rusage usage;
		int status;
		pid_t pid;

		if (posix_spawnp(&pid, argv[2], &actions, NULL, argv + 2, environ))
			die(argv[2]);
		if (wait4(pid, &status, 0, &usage) < 0)
			die("wait4");
		report("run", now() - start, 1);
		printf("rss %ld\n", usage.ru_maxrss);
		if (!WIFEXITED(status) || WEXITSTATUS(status)) {
			fprintf(stderr, "%s: status %#x\n", argv[2], status);
			return 1;
		}
	}
	return 0;
}
