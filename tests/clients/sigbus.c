// SPDX-License-Identifier: MIT
/*
 * sigbus DEVICE OFFSET: map 20 pages of a device and read the byte at OFFSET twice, saying which
 * signal that gave and how far from the page's start; then print the name of page 3.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static sigjmp_buf back;
static volatile uintptr_t where;
static volatile int code;

static void caught(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	where = (uintptr_t)info->si_addr;
	code = info->si_code;
	siglongjmp(back, 1);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_sigaction = caught, .sa_flags = SA_SIGINFO };
	long page = sysconf(_SC_PAGESIZE);
	volatile char *map;
	int fd, turn;

	if (argc < 3)
		return 2;
	fd = open(argv[1], O_RDWR);
	map = mmap(NULL, 20 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return 1;
	sigaction(SIGBUS, &action, NULL);
	for (turn = 0; turn < 2; turn++) {
		if (!sigsetjmp(back, 1))
			(void)map[strtoul(argv[2], NULL, 0)];
		else
			printf("SIGBUS %s +%#lx\n", code == BUS_ADRERR ? "BUS_ADRERR" : "?",
			       (unsigned long)(where & (page - 1)));
	}
	printf("%.6s\n", (const char *)map + 3 * page);
	return 0;
}
