// SPDX-License-Identifier: MIT
/*
 * client ROW[,ROW...] DEVICE: do what the rows ask with /dev/ref_DEVICE (or a memfd, for "memfd") and
 * print a line "row <tab> observation" for each. ROW may be "all". With DEVICE=NODE the device is at
 * that node and has no control device: nothing is said in the brackets of counters, and rows that
 * need more of it say "cannot: ...".
 *
 * A row that crashes or hangs is said to; the others go on.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "row.h"

#define PATIENCE 10000		/* ms that a row may take; most take one, on an emulated processor more */
#define OBSERVATION_SIZE 4096

const char *device;
size_t page;
size_t whole;

static const struct row *const themes[] = {
	argument_rows, placement_rows, mode_rows, private_rows, data_rows, signal_rows,
	kernel_access_rows, lock_rows, advise_rows, remap_rows, unmap_rows, process_rows, fault_rows,
	procfs_rows, special_rows, reading_rows, writing_rows, vector_rows, seeking_rows,
	opening_rows, path_rows, fcntl_rows, ioctl_rows, polling_rows, epoll_rows, aio_rows,
	lifetime_rows, by_address_rows, kernel_write_rows, read_only_rows, shared_memory_rows,
	attribute_rows, unit_rows, descriptor_rows,
};

/* All that the row before left behind must be gone, or it would be counted in the next one. A kernel
 * is done when its processes are; a host in user space may learn of it a moment later.
 */
static void wait_for_release(void)
{
	int tries;

	for (tries = 0; tries < 1000 && !is_released(); tries++)
		usleep(1000);
}

/* Wait for a row; returns how it died, or "". */
static const char *wait_for(pid_t child)
{
	struct pollfd end = { .fd = syscall(SYS_pidfd_open, child, 0), .events = POLLIN };
	static char how[32];
	int result, hung;

	hung = poll(&end, 1, PATIENCE) == 0;
	close(end.fd);
	kill(-child, SIGKILL);	/* it, and what it started */
	while (waitpid(-child, &result, 0) != child)
		;
	while (waitpid(-1, NULL, 0) > 0)	/* its children: we are their subreaper */
		;
	if (hung)
		return " HUNG";
	if (!WIFSIGNALED(result))
		return "";
	snprintf(how, sizeof(how), " DIED:SIG%s", sigabbrev_np(WTERMSIG(result)));
	return how;
}

static void run(const struct row *row)
{
	char *observation = map(NULL, OBSERVATION_SIZE, PROT_RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const char *end;
	pid_t child;

	say_into(observation, OBSERVATION_SIZE);
	reset_device();
	fflush(NULL);
	child = fork();
	if (!child) {
		setpgid(0, 0);
		row->run();
		_exit(0);
	}
	setpgid(child, child);
	end = wait_for(child);
	wait_for_release();
	printf("%s\t%s%s\n", row->name, observation + (*observation == ' '), end);
	fflush(stdout);
	munmap(observation, OBSERVATION_SIZE);
}

static int is_asked_for(const char *name, const char *list)
{
	size_t length = strlen(name);
	const char *at;

	if (!strcmp(list, "all"))
		return 1;
	for (at = list; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (!strncmp(at, name, length) && (!at[length] || at[length] == ','))
			return 1;
	}
	return 0;
}

/* What the row exec_cloexec becomes: it says that it is there, and ends when told. */
static int hold(const char *say_fd, const char *wait_fd)
{
	char byte = 'e';

	if (write(atoi(say_fd), &byte, 1) != 1)
		return 1;
	return read(atoi(wait_fd), &byte, 1) != 1;
}

int main(int argc, char **argv)
{
	const struct row *row;
	char *node;
	int found = 0;
	size_t i;

	if (argc == 4 && !strcmp(argv[1], "--hold"))
		return hold(argv[2], argv[3]);
	if (argc != 3) {
		fprintf(stderr, "usage: %s ROW[,ROW...]|all DEVICE[=NODE]\n", argv[0]);
		return 2;
	}
	node = strchr(argv[2], '=');
	if (node)
		*node++ = 0;
	device = argv[2];
	page = sysconf(_SC_PAGESIZE);
	whole = NPAGES * page;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	connect_to_device(node);
	for (i = 0; i < sizeof(themes) / sizeof(*themes); i++)
		for (row = themes[i]; row->name; row++)
			if (is_asked_for(row->name, argv[1])) {
				run(row);
				found = 1;
			}
	if (!found)
		fprintf(stderr, "%s: no such row\n", argv[1]);
	return !found;
}
