// SPDX-License-Identifier: MIT
/*
 * frames DEVICE BYTES BATCHES COUNT: hand pictures of BYTES to a driver, by a copy into mapped
 * memory and an ioctl that says so, and by write(2), in turn.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

int main(int argc, char **argv)
{
	char *memory, *picture;
	int batches, fd;
	size_t size;
	long count;

	if (argc < 5)
		return 2;
	size = strtoul(argv[2], NULL, 0);
	batches = atoi(argv[3]);
	count = atol(argv[4]);
	fd = open(argv[1], O_RDWR);
	if (fd < 0)
		die(argv[1]);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	picture = malloc(size);
	memset(picture, 3, size);
	for (int batch = -1; batch < batches; batch++) {
		double start = now(), middle;

		for (long i = 0; i < count; i++) {
			memcpy(memory, picture, size);
			if (ioctl(fd, BENCH_PING, 0))
				die("ioctl");
		}
		middle = now();
		for (long i = 0; i < count; i++)
			if (write(fd, picture, size) != (ssize_t)size)
				die("write");
		if (batch >= 0) {
			report("mmap", middle - start, count);
			report("write", now() - middle, count);
		}
	}
	return 0;
}
