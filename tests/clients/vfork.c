/* vfork, posix_spawn and exec with a device open and mapped. vfork NODE */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void check(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "%s: %s\n", what, strerror(errno));
		exit(1);
	}
}

int main(int argc, char **argv)
{
	char number[16];
	char *again[] = { argv[0], argv[1], "write", number, NULL };
	int fd, status;
	char *p;
	pid_t pid;

	if (argc > 3) /* the program that was executed: the descriptor came along */
		return write(atoi(argv[3]), "exec", 4) != 4;
	fd = open(argv[1], O_RDWR);
	check(fd >= 0, "open");
	snprintf(number, sizeof(number), "%d", fd);
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(p != MAP_FAILED, "mmap");

	pid = vfork();
	if (pid == 0) {
		p[100] = 'v'; /* the same address space */
		if (pwrite(fd, "vfork", 5, 200) != 5)
			_exit(2);
		_exit(0);
	}
	check(waitpid(pid, &status, 0) == pid && status == 0, "vfork");
	check(p[100] == 'v' && !memcmp(p + 200, "vfork", 5), "what the child of vfork wrote");

	pid = vfork();
	if (pid == 0) {
		execve(argv[0], again, environ);
		_exit(3);
	}
	check(waitpid(pid, &status, 0) == pid && status == 0, "vfork and exec");
	check(!memcmp(p, "exec", 4), "what the executed program wrote");

	lseek(fd, 0, SEEK_SET);
	memset(p, 0, 4);
	check(posix_spawn(&pid, argv[0], NULL, NULL, again, environ) == 0, "posix_spawn");
	check(waitpid(pid, &status, 0) == pid && status == 0, "the spawned program");
	check(!memcmp(p, "exec", 4), "what the spawned program wrote");
	return 0;
}
