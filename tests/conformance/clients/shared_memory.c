// SPDX-License-Identifier: MIT
/* Processes that share memory, and areas that refuse to change: vfork, CLONE_VM, mseal, NOREPLACE. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "row.h"

#ifndef SYS_mseal
#define SYS_mseal 462
#endif

#define MOVE_TO (MREMAP_MAYMOVE | MREMAP_FIXED)

static struct mapping m;	/* what a child that shares our memory works on */
static char *other;
static char stack[65536] __attribute__((aligned(16)));

static void run_sharing(int (*work)(void *), unsigned long flags)
{
	int result, child = clone(work, stack + sizeof(stack), flags | CLONE_VM | SIGCHLD, NULL);

	if (child < 0) {
		say(" clone:%s", error_name(errno));
		return;
	}
	waitpid(child, &result, __WALL);
	if (WIFSIGNALED(result))
		say(" SIG%s", sigabbrev_np(WTERMSIG(result)));
}

static int unmap_middle(void *unused)
{
	(void)unused;
	say("munmap=%s", status(munmap(m.start + 4 * page, 2 * page)));
	say_ran("child");
	return 0;
}

/* A child of vfork unmaps a part: it is gone for its parent too. */
static void sharing_vfork_munmap(void)
{
	m = map_shared(NPAGES);
	watch();
	run_sharing(unmap_middle, CLONE_VFORK);
	say_ran("ended");
	say(" page3=%s", page_name(m.start + 3 * page));
	say(" page4=%s", load(m.start + 4 * page));
	munmap(m.start, whole);
	say_ran("rest");
}

/* vfork itself, as a shell does it. */
static void sharing_vfork_call(void)
{
	m = map_shared(NPAGES);
	watch();
	if (!vfork()) {
		munmap(m.start, 2 * page);
		_exit(0);
	}
	wait(NULL);
	say_ran("munmap");
	say(" page0=%s", load(m.start));
	say(" page2=%s", page_name(m.start + 2 * page));
	if (!vfork()) {
		mprotect(m.start + 2 * page, page, PROT_READ);
		_exit(0);
	}
	wait(NULL);
	say_ran("mprotect");
	say(" store=%s", store(m.start + 2 * page, 1));
	if (!vfork()) {
		munmap(m.start + 2 * page, 14 * page);
		_exit(0);
	}
	wait(NULL);
	say_ran("all");
	close(m.fd);
	say_ran("close");
}

static int map_another(void *unused)
{
	(void)unused;
	other = map(NULL, 4 * page, PROT_RW, MAP_SHARED, m.fd, 0);
	say("mmap=%s", mapped(other));
	say(" first=%s", page_name(other));
	say_ran("child");
	return 0;
}

/* A child maps the device: it is there for its parent, when it has ended. */
static void sharing_vfork_mmap(void)
{
	m = map_shared(NPAGES);
	watch();
	run_sharing(map_another, CLONE_VFORK);
	say_ran("ended");
	say(" parent=%s", page_name(other + page));
	say(" munmap=%s", status(munmap(other, 4 * page)));
	say_ran("drv");
}

/* The first mapping of a process is made by a child that shares its memory. */
static void sharing_first_mmap(void)
{
	m.fd = open_device(O_RDWR);
	watch();
	run_sharing(map_another, CLONE_VM);
	say_ran("ended");
	say(" parent=%s", page_name(other + page));
	say(" munmap=%s", status(munmap(other, page)));
	say_ran("drv");
	say(" rest=%s", status(munmap(other + page, 3 * page)));
	say_ran("drv");
	close(m.fd);
	say_ran("close");
}

static int change_all(void *unused)
{
	char *to = reserve(2);

	(void)unused;
	say("mprotect=%s", status(mprotect(m.start, 2 * page, PROT_READ)));
	say_ran("");
	other = mremap(m.start + 6 * page, 2 * page, 2 * page, MOVE_TO, to);
	say(" mremap=%s", mapped(other));
	say_ran("");
	say(" dontneed=%s", status(madvise(m.start + 8 * page, page, MADV_DONTNEED)));
	say(" dontfork=%s", status(madvise(m.start + 9 * page, page, MADV_DONTFORK)));
	say_ran("");
	say(" fixed=%s", mapped(map(m.start + 12 * page, page, PROT_RW,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)));
	say_ran("");
	say(" lock=%s", status(mlock(m.start + 13 * page, page)));
	return 0;
}

/* Each call on areas, made by a child with the same memory and files of its own. */
static void sharing_changes(void)
{
	m = map_shared(NPAGES);
	load(m.start + 6 * page);
	watch();
	run_sharing(change_all, 0);
	say_ran("ended");
	say(" page0=%s", store(m.start, 1));
	say(" page6=%s", load(m.start + 6 * page));
	if (other != MAP_FAILED)
		say(" moved=%s", page_name(other));
	say(" page12=%s", page_name(m.start + 12 * page));
	say(" page15=%s", page_name(m.start + 15 * page));
	munmap(m.start, whole);
	say_ran("munmap");
}

static int touch_some(void *unused)
{
	(void)unused;
	say("load=%s", page_name(m.start + 3 * page));
	say(" store=%s", store(m.start + 4 * page, 'S'));
	say(" beyond=%s", load(m.start + whole));
	say_ran("child");
	return 0;
}

/* Touches by a child: the pages are there for its parent too. */
static void sharing_touch(void)
{
	m = map_shared(NPAGES);
	watch();
	run_sharing(touch_some, CLONE_VFORK);
	say_ran("ended");
	say(" page3=%s", page_name(m.start + 3 * page));
	say(" page4=%c", m.start[4 * page]);
	say_ran("parent");
	run_sharing(touch_some, CLONE_FILES | CLONE_FS);
	say_ran("ended");
}

static int fork_there(void *unused)
{
	(void)unused;
	if (!fork()) {
		say("grandchild=%s", page_name(m.start + 2 * page));
		_exit(0);
	}
	wait(NULL);
	say_ran("forked");
	return 0;
}

/* A child that shares memory forks one that does not. */
static void sharing_fork(void)
{
	m = map_shared(NPAGES);
	watch();
	run_sharing(fork_there, 0);
	say_ran("ended");
	say(" page3=%s", page_name(m.start + 3 * page));
}

static int exec_there(void *unused)
{
	(void)unused;
	execl("/proc/self/exe", "client", NULL);	/* says how it is used, and ends */
	return 1;
}

/* A child that shares memory executes a program: its parent keeps the mapping. */
static void sharing_exec(void)
{
	int null = open("/dev/null", O_WRONLY);

	m = map_shared(NPAGES);
	dup2(null, 2);
	watch();
	run_sharing(exec_there, CLONE_VFORK);
	say_ran("exec");
	say(" page3=%s", page_name(m.start + 3 * page));
	munmap(m.start + 4 * page, page);
	say_ran("munmap");
	munmap(m.start, whole);
	say_ran("rest");
}

static int outlive(void *unused)
{
	(void)unused;
	while (getppid() == *(volatile pid_t *)other)
		usleep(1000);
	usleep(100000);
	say("load=%s", page_name(m.start + 3 * page));
	say_ran("alone");
	say(" munmap=%s", status(munmap(m.start, whole)));
	say_ran("drv");
	return 0;
}

/* A child outlives the process that made the mapping: the memory lives on. */
static void sharing_outlives(void)
{
	static pid_t self;
	pid_t maker;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	watch();
	maker = fork();
	if (!maker) {
		m = map_shared(NPAGES);
		self = getpid();
		other = (char *)&self;
		watch();
		clone(outlive, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
		_exit(3);
	}
	while (waitpid(-1, NULL, __WALL) > 0)
		;
	say_ran("all");
}

static void *leave_areas(void *unused)
{
	(void)unused;
	say("munmap=%s", status(munmap(m.start + 4 * page, page)));
	say_ran("thread");
	other = map(NULL, 2 * page, PROT_RW, MAP_SHARED, m.fd, 0);
	say(" mmap=%s", mapped(other));
	say_ran("thread");
	return NULL;
}

/* The same by a thread. */
static void sharing_thread(void)
{
	pthread_t thread;

	m = map_shared(NPAGES);
	watch();
	pthread_create(&thread, NULL, leave_areas, NULL);
	pthread_join(thread, NULL);
	say_ran("joined");
	say(" page4=%s", load(m.start + 4 * page));
	say(" second=%s", page_name(other));
}

static long seal(void *start, size_t length)
{
	long result = syscall(SYS_mseal, start, length, 0);

	if (result && errno == ENOSYS)
		cannot("seal memory: Linux 6.10");
	return result;
}

/* A sealed mapping: everything that would change it. */
static void sealed_changes(void)
{
	m = map_shared(NPAGES);
	load(m.start);
	say("seal=%s", status(seal(m.start, whole)));
	watch();
	say(" munmap=%s", status(munmap(m.start, whole)));
	say(" middle=%s", status(munmap(m.start + 4 * page, page)));
	say(" mprotect=%s", status(mprotect(m.start, page, PROT_READ)));
	say(" same=%s", status(mprotect(m.start, whole, PROT_RW)));
	say(" move=%s", mapped(mremap(m.start, whole, whole, MOVE_TO, reserve(NPAGES))));
	say(" shrink=%s", mapped(mremap(m.start, whole, page, 0)));
	say(" grow=%s", mapped(mremap(m.start, whole, whole + page, MREMAP_MAYMOVE)));
	say(" old0=%s", mapped(mremap(m.start, 0, whole, MREMAP_MAYMOVE)));
	say(" fixed=%s", mapped(map(m.start, page, PROT_RW,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)));
	say(" device=%s", mapped(map(m.start + page, page, PROT_RW, MAP_SHARED | MAP_FIXED, m.fd, 0)));
	say(" dontneed=%s", status(madvise(m.start, page, MADV_DONTNEED)));
	say(" lock=%s", status(mlock(m.start, page)));
	say(" again=%s", status(seal(m.start, whole)));
	say_ran("drv");
	say(" page0=%s", page_name(m.start));
	say(" page5=%s", page_name(m.start + 5 * page));
	say_ran("touched");
	say(" nvma=%d", areas_in(m.start, whole));
}

/* A sealed part of a mapping, and calls that reach over it. */
static void sealed_part(void)
{
	m = map_shared(NPAGES);
	watch();
	say("seal=%s", status(seal(m.start + 4 * page, 2 * page)));
	say_ran("drv");
	say(" nvma=%d", areas_in(m.start, whole));
	say(" all=%s", status(munmap(m.start, whole)));
	say(" mprotect=%s", status(mprotect(m.start, whole, PROT_READ)));
	say_ran("drv");
	say(" store=%s", store(m.start, 1));
	say(" before=%s", status(munmap(m.start, 4 * page)));
	say_ran("drv");
	say(" touched=%s", page_name(m.start + 4 * page));
	say(" gap=%s", status(seal(m.start, whole)));
	say(" flags=%s", status(syscall(SYS_mseal, m.start + 8 * page, page, 1)));
	say(" unaligned=%s", status(seal(m.start + 8 * page + 1, page)));
}

/* A sealed mapping in a child, and when all ends. */
static void sealed_child(void)
{
	pid_t child;

	m = map_shared(NPAGES);
	say("seal=%s", status(seal(m.start, whole)));
	watch();
	child = fork();
	if (!child) {
		say(" munmap=%s", status(munmap(m.start, whole)));
		say(" page=%s", page_name(m.start + 2 * page));
		_exit(0);
	}
	waitpid(child, NULL, 0);
	say_ran("child");
}

/* Something else where it is, and it where something else is: MAP_FIXED_NOREPLACE. */
static void noreplace(void)
{
	char *p;

	m = map_shared(NPAGES);
	watch();
	say("anonymous=%s", mapped(map(m.start + 4 * page, page, PROT_RW, MAP_PRIVATE |
				       MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0)));
	say(" device=%s", mapped(map(m.start + 4 * page, page, PROT_RW,
				     MAP_SHARED | MAP_FIXED_NOREPLACE, m.fd, 0)));
	say(" reach=%s", mapped(map(m.start - page, 2 * page, PROT_RW,
				    MAP_SHARED | MAP_FIXED_NOREPLACE, m.fd, 0)));
	say_ran("drv");
	p = map(m.start + whole, page, PROT_RW, MAP_SHARED | MAP_FIXED_NOREPLACE, m.fd, 0);
	say(" behind=%s", mapped(p));
	say(" there=%d", p == m.start + whole);
	say_ran("drv");
	say(" over_plain=%s", mapped(map(reserve(4), page, PROT_RW, MAP_SHARED | MAP_FIXED_NOREPLACE,
					 m.fd, 0)));
	say(" unaligned=%s", mapped(map((char *)free_range(4) + 1, page, PROT_RW,
					MAP_SHARED | MAP_FIXED_NOREPLACE, m.fd, 0)));
	say(" both=%s", mapped(map(m.start + 4 * page, page, PROT_RW,
				   MAP_SHARED | MAP_FIXED | MAP_FIXED_NOREPLACE, m.fd, 0)));
	say(" page4=%s", page_name(m.start + 4 * page));
	say_ran("drv");
}

/* A mapping without access: touches, advice, and access given later, in a child too. */
static void prot_none(void)
{
	int fd = open_device(O_RDWR), ends[2];
	char *p;

	watch();
	p = map(NULL, whole, PROT_NONE, MAP_SHARED, fd, 0);
	say("%s", mapped(p));
	say(" load=%s", load(p));
	say(" store=%s", store(p, 1));
	if (!pipe(ends))
		say(" write=%s", amount(write(ends[1], p, 8)));
	say(" populate=%s", status(madvise(p, whole, MADV_POPULATE_READ)));
	say(" lock=%s", status(mlock(p, page)));
	say_ran("drv");
	say(" read=%s", status(mprotect(p, 2 * page, PROT_READ)));
	say(" page1=%s", page_name(p + page));
	say_ran("drv");
	say(" none=%s", status(mprotect(p, whole, PROT_NONE)));
	say(" page1=%s", load(p + page));
	say(" rw=%s", status(mprotect(p, whole, PROT_RW)));
	say(" page1=%s", page_name(p + page));
	say_ran("drv");
	mprotect(p, whole, PROT_NONE);
	if (!fork()) {
		say(" child=%s", load(p + page));
		mprotect(p, whole, PROT_READ);
		say(" child=%s", page_name(p + 2 * page));
		_exit(0);
	}
	wait(NULL);
}

/* Another mapping of the device over a part of it. */
static void fixed_over_itself(void)
{
	m = map_shared(NPAGES);
	load(m.start + 4 * page);
	watch();
	say("over=%s", mapped(map(m.start + 4 * page, 2 * page, PROT_READ, MAP_SHARED | MAP_FIXED,
				  m.fd, 8 * page)));
	say_ran("drv");
	say(" page4=%s", page_name(m.start + 4 * page));
	say(" page5=%s", page_name(m.start + 5 * page));
	say(" page6=%s", page_name(m.start + 6 * page));
	say(" nvma=%d", areas_in(m.start, whole));
	say(" all=%s", mapped(map(m.start, whole, PROT_RW, MAP_SHARED | MAP_FIXED, m.fd, 0)));
	say_ran("drv");
	say(" page4=%s", page_name(m.start + 4 * page));
	say(" bad=%s", mapped(map(m.start + 2 * page, page, PROT_RW, MAP_SHARED | MAP_FIXED, m.fd,
				  64 * page)));
	say_ran("drv");
	say(" page2=%s", load(m.start + 2 * page));
	say(" page3=%s", page_name(m.start + 3 * page));
}

/* A range that has a mapping, a gap and something else in it. */
static void mixed_range(void)
{
	char *room = reserve(24), *p;

	m.fd = open_device(O_RDWR);
	p = map(room + 4 * page, 4 * page, PROT_RW, MAP_SHARED | MAP_FIXED, m.fd, 0);
	say("%s", mapped(p));
	munmap(room + 10 * page, 2 * page);
	map(room + 14 * page, 4 * page, PROT_RW, MAP_SHARED | MAP_FIXED, m.fd, 4 * page);
	watch();
	say(" mprotect=%s", status(mprotect(room, 20 * page, PROT_READ)));
	say_ran("drv");
	say(" first=%s", store(p, 1));
	say(" second=%s", store(room + 14 * page, 1));
	say(" msync=%s", status(msync(room, 20 * page, MS_ASYNC)));
	say(" lock=%s", status(mlock(room, 20 * page)));
	say(" advise=%s", status(madvise(room, 20 * page, MADV_RANDOM)));
	say_ran("drv");
	say(" munmap=%s", status(munmap(room + 6 * page, 10 * page)));
	say_ran("drv");
	say(" page1=%s", page_name(p + page));
	say(" page6=%s", page_name(room + 16 * page));
	say(" page5=%s", load(room + 15 * page));
}

const struct row shared_memory_rows[] = {
	ROW(sharing_vfork_munmap),
	ROW(sharing_vfork_call),
	ROW(sharing_vfork_mmap),
	ROW(sharing_first_mmap),
	ROW(sharing_changes),
	ROW(sharing_touch),
	ROW(sharing_fork),
	ROW(sharing_exec),
	ROW(sharing_outlives),
	ROW(sharing_thread),
	ROW(sealed_changes),
	ROW(sealed_part),
	ROW(sealed_child),
	ROW(noreplace),
	ROW(prot_none),
	ROW(fixed_over_itself),
	ROW(mixed_range),
	{ },
};
