// SPDX-License-Identifier: MIT
/* map DEVICE BATCHES BYTES:COUNT...: time mmap, and mmap with munmap, of so many bytes in turn. */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

int main(int argc, char **argv)
{
	int batches, fd;

	if (argc < 4)
		return 2;
	fd = open(argv[1], O_RDWR);
	if (fd < 0)
		die(argv[1]);
	batches = atoi(argv[2]);
	for (int batch = -1; batch < batches; batch++)
		for (int i = 3; i < argc; i++) {
			double mapping = 0, both = 0;
			char name[32];
			size_t size;
			long count;

			if (sscanf(argv[i], "%zu:%ld", &size, &count) != 2)
				return 2;
			for (long n = 0; n < count; n++) {
				double start = now(), middle;
				void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
						    fd, 0);

				if (memory == MAP_FAILED)
					die("mmap");
				middle = now();
				if (munmap(memory, size))
					die("munmap");
				mapping += middle - start;
				both += now() - start;
			}
			if (batch < 0)
				continue;
			snprintf(name, sizeof(name), "mmap:%zu", size);
			report(name, mapping, count);
			snprintf(name, sizeof(name), "both:%zu", size);
			report(name, both, count);
		}
	return 0;
}
