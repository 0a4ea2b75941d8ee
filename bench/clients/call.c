// SPDX-License-Identifier: MIT
/*
 * call FILE BATCHES OPERATION:BYTES:COUNT...: time system calls on a device. OPERATION is ping (an
 * ioctl with a number), exchange (one with a structure, both ways), read or write; each batch makes
 * COUNT of them.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

static char *buffer;

static long once(int fd, char operation, size_t bytes)
{
	struct bench_exchange exchange = { 1, 0 };

	switch (operation) {
	case 'p':
		return ioctl(fd, BENCH_PING, 7);
	case 'e':
		return ioctl(fd, BENCH_EXCHANGE, &exchange) ? -1 : exchange.out == 2 ? 0 : -1;
	case 'r':
		return read(fd, buffer, bytes) == (ssize_t)bytes ? 0 : -1;
	case 'w':
		return write(fd, buffer, bytes) == (ssize_t)bytes ? 0 : -1;
	}
	return -1;
}

int main(int argc, char **argv)
{
	int batches, fd;

	if (argc < 4)
		return 2;
	fd = open(argv[1], O_RDWR);
	if (fd < 0)
		die(argv[1]);
	batches = atoi(argv[2]);
	for (int i = 3; i < argc; i++) {
		size_t bytes;
		char name[16];
		long count;

		if (sscanf(argv[i], "%15[a-z]:%zu:%ld", name, &bytes, &count) != 3)
			return 2;
		buffer = malloc(bytes + 1);
		memset(buffer, 'x', bytes + 1);
		for (int batch = -1; batch < batches; batch++) { /* the first one warms up */
			double start = now();

			for (long n = 0; n < count; n++)
				if (once(fd, name[0], bytes))
					die(name);
			if (batch >= 0)
				report(name, now() - start, count);
		}
		free(buffer);
	}
	return 0;
}
