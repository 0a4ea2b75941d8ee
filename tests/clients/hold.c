// SPDX-License-Identifier: MIT
/*
 * hold DEVICE LENGTH [OFFSET]: map a device and do as told, one line of standard input after the
 * other, until it ends. Numbers are hexadecimal. Each line is answered by one line.
 *
 *   load AT        the byte that the mapping has there
 *   store AT BYTE  put a byte there
 *   pread AT       the byte that read(2) gives at this offset of the device
 *   pwrite AT BYTE the same with write(2)
 *   close          close the descriptor; the mapping stays
 *   fork STEP...   do one of the above in a child process
 *
 * A failure is answered by "error ERRNO". The first line of all is the address of the mapping.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int fd;
static volatile unsigned char *map;

static void answer(long value)
{
	if (value < 0)
		printf("error %d\n", errno);
	else
		printf("%lx\n", value);
	fflush(stdout);
}

static void step(const char *line)
{
	unsigned long at = 0;
	unsigned int value = 0;
	unsigned char byte;
	char verb[16];

	if (sscanf(line, "%15s %lx %x", verb, &at, &value) < 1)
		return;
	byte = value;
	if (!strcmp(verb, "load")) {
		answer(map[at]);
	} else if (!strcmp(verb, "store")) {
		map[at] = byte;
		answer(byte);
	} else if (!strcmp(verb, "pread")) {
		ssize_t got = pread(fd, &byte, 1, at);

		answer(got == 1 ? byte : got);
	} else if (!strcmp(verb, "pwrite")) {
		answer(pwrite(fd, &byte, 1, at) == 1 ? byte : -1);
	} else if (!strcmp(verb, "close")) {
		answer(close(fd));
	} else if (!strcmp(verb, "fork")) {
		pid_t child = fork();

		if (!child) {
			step(line + strlen("fork "));
			_exit(0);
		}
		if (child < 0 || waitpid(child, NULL, 0) < 0)
			answer(-1);
	} else {
		errno = EINVAL;
		answer(-1);
	}
}

int main(int argc, char **argv)
{
	char line[256];
	size_t length;
	off_t offset;

	if (argc < 3)
		return 2;
	length = strtoul(argv[2], NULL, 0);
	offset = argc > 3 ? strtoul(argv[3], NULL, 0) : 0;
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		answer(-1);
		return 1;
	}
	map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
	if (map == MAP_FAILED) {
		answer(-1);
		return 1;
	}
	answer((long)map);
	while (fgets(line, sizeof(line), stdin))
		step(line);
	return 0;
}
