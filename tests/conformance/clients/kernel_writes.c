// SPDX-License-Identifier: MIT
/* The kernel writes into pages that were not touched, by itself: in clone, signals, exit and exec. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <linux/rseq.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

#include "row.h"

static int *number_at(const struct mapping *m, size_t number)
{
	return (int *)(m->start + number * page + 128);
}

static const char *ended(int result)
{
	static char text[32];

	if (WIFSIGNALED(result))
		snprintf(text, sizeof(text), "SIG%s", sigabbrev_np(WTERMSIG(result)));
	else
		snprintf(text, sizeof(text), "exit%d", WEXITSTATUS(result));
	return text;
}

/* Wait for a child that may hang; it is killed then. */
static void say_end(const char *tag, pid_t child)
{
	struct pollfd end = { .fd = syscall(SYS_pidfd_open, child, 0), .events = POLLIN };
	int result = 0, hung = poll(&end, 1, 3000) == 0;

	close(end.fd);
	if (hung)
		kill(child, SIGKILL);
	waitpid(child, &result, __WALL);
	say(" %s=%s", tag, hung ? "HANGS" : ended(result));
}

static long clone_raw(unsigned long flags, int *parent, int *child)
{
	return syscall(SYS_clone, flags, NULL, parent, child, NULL);
}

/* The child's number, for its parent. */
static void clone_parent_settid(void)
{
	struct mapping m = map_shared(NPAGES);
	int *where = number_at(&m, 3);
	long child;

	watch();
	child = clone_raw(CLONE_PARENT_SETTID | SIGCHLD, where, NULL);
	if (!child)
		_exit(7);
	say("clone=%s", child < 0 ? error_name(errno) : "OK");
	say(" number=%d", *where == child);
	say_end("child", child);
	say_ran("drv");
	say(" beyond=");
	child = clone_raw(CLONE_PARENT_SETTID | SIGCHLD, (int *)(m.start + whole), NULL);
	if (!child)
		_exit(8);
	say("%s", child < 0 ? error_name(errno) : "OK");
	say_end("child", child);
}

/* The child's number, for itself: it is written when it first runs. */
static void clone_child_settid(void)
{
	struct mapping m = map_shared(NPAGES);
	int *where = number_at(&m, 3);
	long child;

	watch();
	child = clone_raw(CLONE_CHILD_SETTID | SIGCHLD, NULL, where);
	if (!child)
		_exit(*where == getpid() ? 7 : 8);
	say("clone=%s", child < 0 ? error_name(errno) : "OK");
	say_end("child", child);
	say_ran("drv");
	say(" beyond=");
	child = clone_raw(CLONE_CHILD_SETTID | SIGCHLD, NULL, (int *)(m.start + whole));
	if (!child)
		_exit(9);
	say("%s", child < 0 ? error_name(errno) : "OK");
	say_end("child", child);
}

/* Both, by clone3; and a pidfd. */
static void clone3_numbers(void)
{
	struct mapping m = map_shared(NPAGES);
	struct clone_args arguments = {
		.flags = CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_PIDFD,
		.pidfd = (uintptr_t)number_at(&m, 5),
		.parent_tid = (uintptr_t)number_at(&m, 6),
		.child_tid = (uintptr_t)number_at(&m, 7),
		.exit_signal = SIGCHLD,
	};
	long child;

	watch();
	child = syscall(SYS_clone3, &arguments, sizeof(arguments));
	if (!child)
		_exit(*number_at(&m, 7) == getpid() ? 7 : 8);
	say("clone3=%s", child < 0 ? error_name(errno) : "OK");
	say(" parent=%d", *number_at(&m, 6) == child);
	say(" pidfd=%d", *number_at(&m, 5) > 2);
	say_end("child", child);
	say_ran("drv");
}

/* The arguments of clone3 are in the mapping. */
static void clone3_arguments(void)
{
	struct mapping m = map_shared(NPAGES);
	struct clone_args *arguments = (void *)(m.start + 4 * page + 512);
	long child;

	watch();
	child = syscall(SYS_clone3, arguments, sizeof(*arguments));
	if (!child)
		_exit(7);
	say("zeros=%s", child < 0 ? error_name(errno) : "OK");
	if (child > 0)
		waitpid(child, NULL, __WALL);
	say_ran("drv");
	child = syscall(SYS_clone3, m.start + whole, sizeof(*arguments));
	if (!child)
		_exit(7);
	say(" beyond=%s", child < 0 ? error_name(errno) : "OK");
	child = syscall(SYS_clone3, m.start + whole - 16, sizeof(*arguments));
	if (!child)
		_exit(7);
	say(" over_end=%s", child < 0 ? error_name(errno) : "OK");
}

/* The child's number is erased when it ends, and who waits for that is woken. */
static void exit_cleartid(void)
{
	struct mapping m = map_shared(NPAGES);
	pid_t child;

	watch();
	child = fork();
	if (!child) {
		syscall(SYS_set_tid_address, number_at(&m, 3));
		_exit(7);
	}
	say_end("process", child);	/* nobody else has its memory: nothing is written */
	say_ran("drv");
	child = clone_raw(CLONE_CHILD_CLEARTID | SIGCHLD, NULL, number_at(&m, 4));
	if (!child)
		_exit(8);
	say_end("clone", child);
	say_ran("drv");
}

static char stack[3][65536] __attribute__((aligned(16)));

static int set_and_leave(void *where)
{
	if (where)
		syscall(SYS_set_tid_address, where);
	syscall(SYS_exit, 0);
	return 0;
}

/* Wait until a thread has ended, which takes a while on an emulated processor. */
static void await_end(pid_t thread)
{
	int tries;

	for (tries = 0; tries < 2000 && !syscall(SYS_tgkill, getpid(), thread, 0); tries++)
		usleep(1000);
}

/* The same of threads, whose memory lives on. */
static void exit_cleartid_thread(void)
{
	struct mapping m = map_shared(NPAGES);
	volatile int *where = number_at(&m, 3);
	int thread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;

	driver_state();
	watch();
	await_end(clone(set_and_leave, stack[0] + sizeof(stack[0]), thread, (void *)where));
	say_ran("set");
	set_driver_byte(4 * page + 128, 1);
	watch();
	await_end(clone(set_and_leave, stack[1] + sizeof(stack[1]), thread | CLONE_CHILD_CLEARTID,
			NULL, NULL, NULL, number_at(&m, 4)));
	say(" cleared=%d", !driver_byte(4 * page + 128));
	say_ran("cleared");
	await_end(clone(set_and_leave, stack[2] + sizeof(stack[2]),
			thread | CLONE_CHILD_SETTID | CLONE_PARENT_SETTID, NULL, number_at(&m, 6),
			NULL, number_at(&m, 7)));
	say(" numbers=%d", *number_at(&m, 6) > 1 && *number_at(&m, 6) == *number_at(&m, 7));
	say_ran("set");
}

/* A list of locks, which are marked when their owner dies. */
static void exit_robust_list(void)
{
	struct mapping m = map_shared(NPAGES);
	struct robust_list_head *head;
	void *found = NULL;
	size_t size = 0;
	pid_t child;

	watch();
	child = fork();
	if (!child) {
		head = (void *)(m.start + 3 * page);
		say("set=%s", status(syscall(SYS_set_robust_list, head, sizeof(*head))));
		say(" get=%s", status(syscall(SYS_get_robust_list, 0, &found, &size)));
		_exit(found == head ? 7 : 8);
	}
	say_end("untouched", child);
	say_ran("drv");
	child = fork();
	if (!child) {
		int *lock = number_at(&m, 5);

		head = map(NULL, page, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		head->list.next = (void *)(m.start + 5 * page);
		head->futex_offset = 128;
		*(void **)(m.start + 5 * page) = &head->list;
		*lock = getpid() | FUTEX_WAITERS;
		syscall(SYS_set_robust_list, head, sizeof(*head));
		watch();
		_exit(9);
	}
	say_end("owner", child);
	say(" died=%d", !!(*number_at(&m, 5) & FUTEX_OWNER_DIED));
	watch();
	say(" get_into=%s",
	    status(syscall(SYS_get_robust_list, 0, m.start + 8 * page, m.start + 9 * page)));
	say_ran("drv");
}

/* A restartable sequence: the kernel writes the processor's number there, at any moment. */
static void rseq_in_mapping(void)
{
	struct mapping m = map_shared(NPAGES);
	struct rseq *area = (void *)(m.start + 3 * page + 1024);
	pid_t child;

	watch();
	child = fork();
	if (!child) {
		/* The C library has registered one; its place is not known here but by its size. */
		extern const ptrdiff_t __rseq_offset __attribute__((weak));
		extern const unsigned int __rseq_size __attribute__((weak));
		char *old = (char *)__builtin_thread_pointer() + (&__rseq_offset ? __rseq_offset : 0);

		if (&__rseq_size && __rseq_size)
			syscall(SYS_rseq, old, 32, RSEQ_FLAG_UNREGISTER, 0x53053053);
		say("register=%s", status(syscall(SYS_rseq, area, 32, 0, 0x53053053)));
		sched_yield();
		usleep(2000);
		_exit(area->cpu_id < 4096 ? 7 : 8);
	}
	say_end("child", child);
}

static volatile int handled;

static void note(int number)
{
	(void)number;
	handled++;
}

static void on_stack_of(char *base, size_t size)
{
	stack_t other = { .ss_sp = base, .ss_size = size };
	struct sigaction action = { .sa_handler = note, .sa_flags = SA_ONSTACK };

	say(" sigaltstack=%s", status(sigaltstack(&other, NULL)));
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	raise(SIGUSR1);
}

/* The frame of a signal is written onto a stack in the mapping. */
static void signal_frame(void)
{
	struct mapping m = map_shared(NPAGES);
	pid_t child;

	watch();
	child = fork();
	if (!child) {
		on_stack_of(m.start, whole);
		_exit(handled);
	}
	say_end("child", child);
	say_ran("drv");
	child = fork();
	if (!child) {
		on_stack_of(m.start + whole, whole);
		_exit(handled);
	}
	say_end("beyond", child);
	m.start = map(NULL, whole, PROT_READ, MAP_SHARED, open_device(O_RDONLY), 0);
	watch();
	child = fork();
	if (!child) {
		on_stack_of(m.start, whole);
		_exit(handled);
	}
	say_end("readable", child);
	say_ran("drv");
}

/* The frame of a signal that comes while a thread waits in a system call. */
static void signal_frame_waiting(void)
{
	struct mapping m = map_shared(NPAGES);
	int ends[2];
	pid_t child;
	char byte;

	if (pipe(ends))
		return;
	watch();
	child = fork();
	if (!child) {
		struct itimerspec soon = { { 0, 0 }, { 0, 20000000 } };
		struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
		stack_t other = { .ss_sp = m.start, .ss_size = whole };
		struct sigaction action = { .sa_handler = note, .sa_flags = SA_ONSTACK };
		timer_t timer;

		sigaltstack(&other, NULL);
		sigaction(SIGUSR1, &action, NULL);
		timer_create(CLOCK_MONOTONIC, &event, &timer);
		timer_settime(timer, 0, &soon, NULL);
		say("read=%s", amount(read(ends[0], &byte, 1)));
		_exit(handled);
	}
	say_end("child", child);
	say_ran("drv");
}

static int stack_child(void *argument)
{
	volatile char local[3000];

	local[0] = local[2999] = *(char *)argument;
	return 7 + (local[0] != 'k');
}

/* A child with memory of its own, and one that shares ours, with the mapping for a stack. */
static void clone_stack(void)
{
	struct mapping m = map_shared(NPAGES);
	static char sign = 'k';

	watch();
	say_end("copy", clone(stack_child, m.start + 8 * page, SIGCHLD, &sign));
	say_ran("drv");
	say_end("shared", clone(stack_child, m.start + whole, CLONE_VM | SIGCHLD, &sign));
	say_ran("drv");
}

static void *run_on(void *argument)
{
	volatile char local[5000];

	local[0] = local[4999] = 1;
	usleep(100000);	/* so that it is waited for: by a futex, which is in its stack */
	return argument;
}

/* A thread whose stack is the mapping. */
static void thread_stack(void)
{
	struct mapping m = map_shared(NPAGES);
	pthread_attr_t attributes;
	pthread_t thread;
	void *result = NULL;
	int error;

	pthread_attr_init(&attributes);
	pthread_attr_setstack(&attributes, m.start, whole);
	watch();
	error = pthread_create(&thread, &attributes, run_on, m.start);
	say("create=%s", error ? error_name(error) : "0");
	if (!error)
		pthread_join(thread, &result);
	say(" joined=%d", result == m.start);
}

/* Path, arguments and environment of a program are in pages that were not touched. */
static void exec_from_mapping(void)
{
	struct mapping m = map_shared(NPAGES);
	char *const none[] = { NULL };
	pid_t child;

	watch();
	child = fork();
	if (!child) {
		execve(m.start + 3 * page, none, none);
		_exit(errno == ENOENT ? 7 : errno == EFAULT ? 8 : 9);
	}
	say_end("path", child);	/* it is "PAGE03" */
	say_ran("drv");
	child = fork();
	if (!child) {
		char *arguments[] = { "/proc/self/exe", m.start + 4 * page, m.start + 5 * page,
					"x", NULL };

		execve(arguments[0], arguments, none);
		_exit(9);
	}
	say_end("arguments", child);
	say_ran("drv");
	child = fork();
	if (!child) {
		execve("/proc/self/exe", (char **)(m.start + 6 * page + 64), none);
		_exit(9);
	}
	say_end("vector", child);
	say_ran("drv");
	child = fork();
	if (!child) {
		char *arguments[] = { "x", m.start + whole, NULL };

		execve("/proc/self/exe", arguments, none);
		_exit(errno == EFAULT ? 7 : 9);
	}
	say_end("beyond", child);
}

/* A process that dumps its core while it has the mapping. */
static void core_dump(void)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	pid_t child;

	map_shared(NPAGES);
	watch();
	child = fork();
	if (!child) {
		setrlimit(RLIMIT_CORE, &limit);
		prctl(PR_SET_DUMPABLE, 1);
		abort();
	}
	say_end("child", child);
	unlink("core");
}

#define SAYS(name, call) do { \
	say(" %s=%s", name, amount(call)); \
	say_ran(""); \
} while (0)

/* Results of calls about time and resources, each in a page of its own. */
static void results_of_time(void)
{
	struct mapping m = map_shared(NPAGES);
	char *p = m.start + 256;

	watch();
	SAYS("gettime", syscall(SYS_clock_gettime, CLOCK_REALTIME, p));
	SAYS("getres", syscall(SYS_clock_getres, CLOCK_REALTIME, p + page));
	SAYS("uname", syscall(SYS_uname, p + 2 * page));
	SAYS("sysinfo", syscall(SYS_sysinfo, p + 3 * page));
	SAYS("getrusage", syscall(SYS_getrusage, RUSAGE_SELF, p + 4 * page));
	SAYS("prlimit", syscall(SYS_prlimit64, 0, RLIMIT_CORE, NULL, p + 5 * page));
	SAYS("timer_create", syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, p + 6 * page));
	SAYS("setitimer", syscall(SYS_setitimer, ITIMER_REAL, p + 7 * page, p + 8 * page));
	SAYS("nanosleep", syscall(SYS_nanosleep, p + 9 * page, NULL));
	SAYS("getcpu", syscall(SYS_getcpu, p + 10 * page, p + 11 * page, NULL));
	SAYS("sched", syscall(SYS_sched_getparam, 0, p + 12 * page));
	SAYS("beyond", syscall(SYS_clock_gettime, CLOCK_REALTIME, m.start + whole));
	SAYS("over_end", syscall(SYS_uname, m.start + whole - 8));
}

/* Results of calls about processes and signals. */
static void results_of_processes(void)
{
	struct mapping m = map_shared(NPAGES);
	char *p = m.start + 256;
	pid_t child = fork();
	sigset_t usr1;

	if (!child)
		_exit(5);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	waitid(P_PID, child, NULL, WEXITED | WNOWAIT);
	watch();
	SAYS("sigprocmask", syscall(SYS_rt_sigprocmask, SIG_BLOCK, p, p + page, 8));
	SAYS("sigaction", syscall(SYS_rt_sigaction, SIGUSR2, NULL, p + 2 * page, 8));
	SAYS("sigpending", syscall(SYS_rt_sigpending, p + 3 * page, 8));
	raise(SIGUSR1);
	SAYS("sigtimedwait", syscall(SYS_rt_sigtimedwait, &usr1, p + 4 * page, p + 5 * page, 8));
	SAYS("waitid", syscall(SYS_waitid, P_PID, child, p + 6 * page, WEXITED | WNOWAIT, p + 7 * page));
	say(" waits=%d", syscall(SYS_wait4, child, p + 8 * page, 0, p + 9 * page) == child);
	say_ran("");
	say(" status=%d", WEXITSTATUS(*(int *)(p + 8 * page)));
	SAYS("getresuid", syscall(SYS_getresuid, p + 10 * page, p + 11 * page, p + 12 * page));
	SAYS("sigaltstack", syscall(SYS_sigaltstack, NULL, p + 13 * page));
	SAYS("prctl", syscall(SYS_prctl, PR_GET_NAME, p + 14 * page, 0, 0, 0));
	SAYS("capget", syscall(SYS_capget, p + 15 * page, NULL));
}

/* Results of calls about files. */
static void results_of_files(void)
{
	struct mapping m = map_shared(NPAGES);
	char *p = m.start + 256;
	int directory = open("/", O_RDONLY | O_DIRECTORY), file = other_file();

	watch();
	SAYS("pipe", syscall(SYS_pipe2, p, 0));
	SAYS("fstat", syscall(SYS_newfstatat, directory, "", p + page, AT_EMPTY_PATH));
	SAYS("statx", syscall(SYS_statx, directory, "", AT_EMPTY_PATH, STATX_BASIC_STATS, p + 2 * page));
	say(" getdents=%d", syscall(SYS_getdents64, directory, p + 3 * page, 2048) > 0);
	say_ran("");
	say(" getcwd=%d", syscall(SYS_getcwd, p + 4 * page, 2048) > 0);
	say_ran("");
	say(" readlink=%d", syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", p + 5 * page, 2048) > 0);
	say_ran("");
	SAYS("socketpair", syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, p + 6 * page));
	SAYS("read", syscall(SYS_read, file, p + 7 * page, 100));
	SAYS("pread_two", syscall(SYS_pread64, file, m.start + 9 * page - 10, 20, 0));
	SAYS("sendfile", syscall(SYS_sendfile, file, file, p + 10 * page, 0));
	SAYS("fcntl", fcntl(file, F_GETLK, p + 11 * page));
	SAYS("ioctl", ioctl(file, FIONREAD, p + 12 * page));
	SAYS("open", openat(AT_FDCWD, m.start + 13 * page, O_RDONLY));
	SAYS("readv", syscall(SYS_readv, file, p + 14 * page, 2));
	SAYS("getrandom", syscall(SYS_getrandom, p + 15 * page, 16, 0));
}

/* The system calls themselves; processors newer than x86-64 have but their successors. */
static long raw_poll(void *files)
{
#ifdef SYS_poll
	return syscall(SYS_poll, files, 1, 0);
#else
	struct timespec none = { 0, 0 };

	return syscall(SYS_ppoll, files, 1, &none, NULL, 8);
#endif
}

static long raw_select(void *in, void *out, void *limit)
{
#ifdef SYS_select
	return syscall(SYS_select, 3, in, out, NULL, limit);
#else
	return syscall(SYS_pselect6, 3, in, out, NULL, limit, NULL);
#endif
}

static long raw_epoll_wait(int poller, void *events)
{
#ifdef SYS_epoll_wait
	return syscall(SYS_epoll_wait, poller, events, 4, 0);
#else
	return syscall(SYS_epoll_pwait, poller, events, 4, 0, NULL, 8);
#endif
}

/* Results of calls that wait for files. */
static void results_of_polling(void)
{
	struct mapping m = map_shared(NPAGES);
	char *p = m.start + 256;
	int ends[2], poller = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLOUT };

	if (pipe(ends) || epoll_ctl(poller, EPOLL_CTL_ADD, ends[1], &event))
		return;
	dup2(ends[1], 0);
	watch();
	SAYS("poll", raw_poll(p));	/* of descriptor 0, for nothing */
	SAYS("select", raw_select(p + page, p + 2 * page, p + 3 * page));
	SAYS("epoll_wait", raw_epoll_wait(poller, p + 4 * page));
	SAYS("epoll_ctl", syscall(SYS_epoll_ctl, poller, EPOLL_CTL_MOD, ends[1], p + 5 * page));
	SAYS("ppoll", syscall(SYS_ppoll, NULL, 0, p + 6 * page, NULL, 8));
	SAYS("beyond", raw_poll(m.start + whole));
	SAYS("epoll_beyond", raw_epoll_wait(poller, m.start + whole));
	event.events = EPOLLOUT;
	epoll_ctl(poller, EPOLL_CTL_MOD, ends[1], &event);
	SAYS("epoll_beyond_ready", raw_epoll_wait(poller, m.start + whole));
}

/* Messages: header, pieces and data in pages of their own. */
static void results_of_messages(void)
{
	struct mapping m = map_shared(NPAGES);
	struct msghdr *header = (void *)(m.start + 3 * page + 512);
	struct iovec piece = { m.start + 5 * page, 100 };
	struct msghdr plain = { .msg_iov = &piece, .msg_iovlen = 1 };
	int ends[2], length = 4;

	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, ends))
		return;
	watch();
	SAYS("sendmsg", syscall(SYS_sendmsg, ends[0], header, 0));	/* zeros */
	SAYS("recvmsg", syscall(SYS_recvmsg, ends[1], m.start + 4 * page + 512, 0));
	SAYS("send", syscall(SYS_sendto, ends[0], "0123456789", 10, 0, NULL, 0));
	SAYS("recv", syscall(SYS_recvmsg, ends[1], &plain, 0));
	SAYS("send_from", syscall(SYS_sendto, ends[0], m.start + 6 * page, 10, 0, NULL, 0));
	SAYS("recv_beyond", syscall(SYS_recvfrom, ends[1], m.start + whole, 10, 0, NULL, NULL));
	SAYS("getsockopt", syscall(SYS_getsockopt, ends[0], SOL_SOCKET, SO_TYPE, m.start + 7 * page + 64,
				   &length));
	SAYS("getsockname", syscall(SYS_getsockname, ends[0], m.start + 8 * page,
				    m.start + 9 * page + 64));
}

/* An ioctl structure and a vector for the device itself are in its own mapping. */
static void results_of_device(void)
{
	struct mapping m = map_shared(NPAGES);
	struct iovec *pieces = (void *)(m.start + 3 * page + 512);

	watch();
	SAYS("readv", syscall(SYS_readv, m.fd, pieces, 1));
	SAYS("read", syscall(SYS_pread64, m.fd, m.start + 4 * page, 6, 0));
	SAYS("write", syscall(SYS_pwrite64, m.fd, m.start + 5 * page, 6, 64));
	SAYS("read_two", syscall(SYS_pread64, m.fd, m.start + 7 * page - 3, 6, 0));
	SAYS("fstat", syscall(SYS_newfstatat, m.fd, "", m.start + 8 * page, AT_EMPTY_PATH));
	SAYS("read_over_end", syscall(SYS_pread64, m.fd, m.start + whole - 3, 6, 0));
	SAYS("beyond", syscall(SYS_pread64, m.fd, m.start + whole, 6, 0));
}

const struct row kernel_write_rows[] = {
	ROW(clone_parent_settid),
	ROW(clone_child_settid),
	ROW(clone3_numbers),
	ROW(clone3_arguments),
	ROW(exit_cleartid),
	ROW(exit_cleartid_thread),
	ROW(exit_robust_list),
	ROW(rseq_in_mapping),
	ROW(signal_frame),
	ROW(signal_frame_waiting),
	ROW(clone_stack),
	ROW(thread_stack),
	ROW(exec_from_mapping),
	ROW(core_dump),
	ROW(results_of_time),
	ROW(results_of_processes),
	ROW(results_of_files),
	ROW(results_of_polling),
	ROW(results_of_messages),
	ROW(results_of_device),
	{ },
};
