// SPDX-License-Identifier: MIT
/* Mappings and open files across fork, vfork, exec and death: what is the driver told, and when? */
#define _GNU_SOURCE
#include <stdio.h>

#include "row.h"

/* A child and its parent tell each other how far they are: a byte each way. */
struct rendezvous {
	int out, in;
};

static void tell(const struct rendezvous *r)
{
	if (write(r->out, "x", 1) != 1)
		_exit(2);
}

static void hear(const struct rendezvous *r)
{
	char byte;

	if (read(r->in, &byte, 1) == 1)
		return;
	say(" the other process ended");
	_exit(2);
}

/* fork; each process has its own ends only, so that it learns when the other one ends. */
static pid_t fork_and_meet(struct rendezvous *r)
{
	int to_parent[2], to_child[2];
	pid_t child;

	if (pipe(to_parent) || pipe(to_child))
		_exit(2);
	child = fork();
	*r = child ? (struct rendezvous){ to_child[1], to_parent[0] } :
		     (struct rendezvous){ to_parent[1], to_child[0] };
	close(child ? to_child[0] : to_child[1]);
	close(child ? to_parent[1] : to_parent[0]);
	return child;
}

/* A child that stores something: shared, and counted while it lives and when it ends. */
static void fork_counts(void)
{
	struct mapping m = map_shared(NPAGES);
	struct rendezvous r;
	pid_t child;

	watch();
	child = fork_and_meet(&r);
	if (!child) {
		m.start[3 * page] = 'F';
		tell(&r);
		hear(&r);
		_exit(0);
	}
	hear(&r);
	say_ran("alive");
	say(" shared=%d", m.start[3 * page] == 'F');
	tell(&r);
	waitpid(child, NULL, 0);
	say_ran("child_exit");
	munmap(m.start, whole);
	say_ran("munmap");
	close(m.fd);
	say_ran("close");
}

/* Does a child ask again for a page that its parent had touched? */
static void fork_refault(void)
{
	struct mapping m = map_shared(NPAGES);

	m.start[0] = 1;
	watch();
	if (!fork()) {
		load(m.start);
		load(m.start + page);
		_exit(0);
	}
	wait(NULL);
	say_ran("child read 1 touched+1 untouched");
}

/* A child that shares its parent's memory is no second user of it. */
static void vfork_counts(void)
{
	map_shared(NPAGES);
	watch();
	if (!vfork())
		_exit(0);
	wait(NULL);
	say_ran("vfork");
}

/* A mapping and a close-on-exec descriptor are gone with exec. */
static void exec_cloexec(void)
{
	struct rendezvous r;
	pid_t child;

	watch();
	child = fork_and_meet(&r);
	if (!child) {
		char say_fd[16], wait_fd[16];
		int fd = open_device(O_RDWR | O_CLOEXEC);
		char *p = map(NULL, whole, PROT_RW, MAP_SHARED, fd, 0);

		if (p == MAP_FAILED)
			_exit(1);
		*p = 1;
		tell(&r);
		hear(&r);
		snprintf(say_fd, sizeof(say_fd), "%d", r.out);
		snprintf(wait_fd, sizeof(wait_fd), "%d", r.in);
		execl("/proc/self/exe", "client", "--hold", say_fd, wait_fd, NULL);
		_exit(2);
	}
	hear(&r);
	say_ran("mapped");
	tell(&r);
	hear(&r);	/* from the new program */
	say_ran("after_exec");
	tell(&r);
	waitpid(child, NULL, 0);
	say_ran("after_exit");
}

/* A program that is killed: all of its areas are closed, and its file released. */
static void kill9(void)
{
	struct rendezvous r;
	pid_t child;

	watch();
	child = fork_and_meet(&r);
	if (!child) {
		char *p = map(NULL, whole, PROT_RW, MAP_SHARED, open_device(O_RDWR), 0);

		if (p == MAP_FAILED)
			_exit(1);
		*p = 1;
		munmap(p + 4 * page, page);
		tell(&r);
		pause();
	}
	hear(&r);
	say_ran("mapped+split");
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	say_ran("killed");
}

const struct row process_rows[] = {
	ROW(fork_counts),
	ROW(fork_refault),
	ROW(vfork_counts),
	ROW(exec_cloexec),
	ROW(kill9),
	{ },
};
