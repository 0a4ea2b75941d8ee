// Programs that look at paths in ways which code in between could disturb; argv[1] says which.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(what) do { if (!(what)) { printf("line %d: %s, errno %d\n", __LINE__, #what, errno); exit(1); } } while (0)

#ifdef _SC_MINSIGSTKSZ
#define SIGNALS_TAKE sysconf(_SC_MINSIGSTKSZ)
#else
#define SIGNALS_TAKE 8192
#endif

extern char **environ;
static _Thread_local struct stat status;	/* several threads look at once */
static volatile sig_atomic_t signals, may_jump;
static sigjmp_buf back;

static void look(void)
{
	int fd;

	CHECK(!stat("/etc/passwd", &status) && status.st_size > 0);
	CHECK(!lstat("/", &status) && S_ISDIR(status.st_mode));
	CHECK(stat("/nowhere/at/all", &status) == -1 && errno == ENOENT);
	CHECK(!access("/etc/passwd", R_OK));
	fd = open("/etc/passwd", O_RDONLY);
	CHECK(fd >= 0 && read(fd, &status, 4) == 4 && lseek(fd, 0, SEEK_CUR) == 4 && !close(fd));
}

static void on_signal(int number)
{
	int error = errno;

	(void)number;
	look();
	errno = error;
	if (++signals % 16 == 0 && may_jump)
		siglongjmp(back, 1);
}

static void in_handlers(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct itimerval often = { { 0, 300 }, { 0, 300 } }, never = { { 0, 0 }, { 0, 0 } };
	volatile int rounds = 0;

	sigaction(SIGALRM, &action, NULL);
	CHECK(!setitimer(ITIMER_REAL, &often, NULL));
	sigsetjmp(back, 1);
	may_jump = 1;
	while (signals < 300 || rounds < 1000) {
		CHECK(!stat("/etc/passwd", &status));
		rounds++;
	}
	may_jump = 0;
	CHECK(!setitimer(ITIMER_REAL, &never, NULL));
}

static void on_alternate_stack(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
	size_t size = SIGNALS_TAKE + 2048;
	char *pages = mmap(NULL, 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t stack = { .ss_sp = pages + 32768 - (size + 4095) / 4096 * 4096 };

	stack.ss_size = pages + 32768 - (char *)stack.ss_sp;
	CHECK(!mprotect(stack.ss_sp, stack.ss_size, PROT_READ | PROT_WRITE));
	CHECK(!sigaltstack(&stack, NULL) && !sigaction(SIGUSR1, &action, NULL) && !raise(SIGUSR1));
	CHECK(signals == 1);
}

static void bad_addresses(void)
{
	char *pages = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *end = pages + 2 * 4096, *hole = end;
	const char *bad[] = { NULL, (char *)1, (char *)-1, (char *)-4096, (char *)(1ul << 47), hole,
			      hole + 4095, end - 3 };

	CHECK(!munmap(hole, 4096));
	memset(pages, 'x', 2 * 4096);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		CHECK(stat(bad[i], &status) == -1 && errno == EFAULT);
		CHECK(open(bad[i], O_RDONLY) == -1 && errno == EFAULT);
		CHECK(access(bad[i], F_OK) == -1 && errno == EFAULT);
		CHECK(readlink(bad[i], pages, 10) == -1 && errno == EFAULT);
	}
	strcpy(end - 12, "/etc/passwd");
	CHECK(!stat(end - 12, &status));
	strcpy(pages + 4096 - 5, "/etc/passwd");	/* on two pages */
	CHECK(!stat(pages + 4096 - 5, &status));
	CHECK(syscall(SYS_newfstatat, AT_FDCWD, "/etc/passwd", NULL, 0) == -1 && errno == EFAULT);
	CHECK(stat("", &status) == -1 && errno == ENOENT);
	memset(pages, 'x', 4096);
	pages[4095] = 0;
	CHECK(stat(pages, &status) == -1 && errno == ENAMETOOLONG);
	mprotect(pages, 4096, PROT_NONE);
	CHECK(stat(pages + 1, &status) == -1 && errno == EFAULT);
}

static void say(const char *const *text)
{
	printf("%s ", *text);
	fflush(stdout);
}

static void *wait_for_data(void *fd)
{
	__attribute__((cleanup(say))) const char *text = "unwound";
	char byte;

	CHECK(read(*(int *)fd, &byte, 1) > 0);
	return (void *)text;
}

static void *stat_all_the_time(void *stop)
{
	while (!*(volatile int *)stop)
		look();
	return NULL;
}

static void cancelled(void)
{
	pthread_t thread, others[4];
	int ends[2], stop = 0;
	void *result;

	CHECK(!pipe(ends));
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&others[i], NULL, stat_all_the_time, &stop));
	for (int i = 0; i < 5; i++) {
		CHECK(!pthread_create(&thread, NULL, wait_for_data, ends));
		usleep(20000);
		CHECK(!pthread_cancel(thread) && !pthread_join(thread, &result));
		CHECK(result == PTHREAD_CANCELED);
	}
	stop = 1;
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_join(others[i], NULL));
}

/* A filter that kills for calls with which somebody else might look at memory and at paths. */
static void under_own_filter(bool by_prctl)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigprocmask, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_readlinkat, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(*code), code };
	char *command[] = { "/bin/cat", "/etc/hostname", NULL };
	pid_t child;
	int how;

	look();
	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	if (by_prctl)
		CHECK(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
	else
		CHECK(!syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
	look();
	child = fork();
	if (!child) {
		look();
		freopen("/dev/null", "w", stdout);
		execv(*command, command);	/* whose loader must not look at paths so either */
		_exit(99);
	}
	CHECK(waitpid(child, &how, 0) == child && WIFEXITED(how) && WEXITSTATUS(how) != 99);
}

static void children(void)
{
	char *command[] = { "cat", "/etc/passwd", NULL }, *nothing[] = { NULL };
	posix_spawn_file_actions_t actions;
	pid_t child;
	int how;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	for (volatile int i = 0; i < 10; i++) {
		CHECK(!posix_spawnp(&child, *command, &actions, NULL, command, i % 2 ? environ : nothing));
		CHECK(waitpid(child, &how, 0) == child && !how);
		child = vfork();
		if (!child) {
			execl("/usr/bin/test", "test", "-e", "/etc/passwd", NULL);
			_exit(99);
		}
		CHECK(waitpid(child, &how, 0) == child && !how);
		child = fork();
		if (!child) {
			look();
			_exit(0);
		}
		CHECK(waitpid(child, &how, 0) == child && !how);
		look();
	}
	posix_spawn_file_actions_destroy(&actions);
	clearenv();
	CHECK(!environ || !*environ);
	look();
}

int main(int count, char **args)
{
	const char *what = count > 1 ? args[1] : "";

	if (!strcmp(what, "look")) look();
	else if (!strcmp(what, "handlers")) in_handlers();
	else if (!strcmp(what, "altstack")) on_alternate_stack();
	else if (!strcmp(what, "addresses")) bad_addresses();
	else if (!strcmp(what, "cancelled")) cancelled();
	else if (!strcmp(what, "seccomp")) under_own_filter(false);
	else if (!strcmp(what, "prctl")) under_own_filter(true);
	else if (!strcmp(what, "children")) children();
	else return 2;
	if (count > 2) {	/* a device, last: it must be found whatever was before */
		CHECK(!stat(args[2], &status) && S_ISCHR(status.st_mode));
		CHECK(open(args[2], O_RDWR) >= 0);
	}
	puts("done");
	return 0;
}
