// SPDX-License-Identifier: MIT
/* fault DEVICE PAGES BATCHES: map a device and read a byte of each page; nanoseconds a page. */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

enum { PAGE = 4096 };

int main(int argc, char **argv)
{
	int batches, fd;
	long pages;

	if (argc < 4)
		return 2;
	pages = atol(argv[2]);
	batches = atoi(argv[3]);
	fd = open(argv[1], O_RDWR);
	if (fd < 0)
		die(argv[1]);
	for (int batch = -1; batch < batches; batch++) {
		volatile char *memory;
		double start;

		memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (memory == MAP_FAILED)
			die("mmap");
		start = now();
		for (long i = 0; i < pages; i++)
			(void)memory[i * PAGE];
		if (batch >= 0)
			report("fault", now() - start, pages);
		munmap((void *)memory, pages * PAGE);
	}
	return 0;
}
