/*
 * Touch a byte of a device's area and say which signal came of it, if any: number, si_code, where it
 * was touched, si_addr_lsb where it has one. faultcode NODE OFFSET r|w
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static sigjmp_buf back;
static siginfo_t seen;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)context;
	(void)sig;
	seen = *info;
	siglongjmp(back, 1);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	long offset = argc == 4 ? atol(argv[2]) : 0;
	volatile char *p;
	int fd;

	if (argc != 4 || (fd = open(argv[1], O_RDWR)) < 0) {
		perror("faultcode NODE OFFSET r|w");
		return 2;
	}
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	p = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	if (sigsetjmp(back, 1) == 0) {
		if (*argv[3] == 'w')
			p[offset] = 'X';
		printf("%c\n", p[offset]);
		return 0;
	}
	printf("%d %d +%ld", seen.si_signo, seen.si_code, (long)((char *)seen.si_addr - (char *)p));
	if (seen.si_signo == SIGBUS && seen.si_code == BUS_MCEERR_AR)
		printf(" lsb %d", seen.si_addr_lsb);
	printf("\n");
	return 0;
}
