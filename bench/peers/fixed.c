// SPDX-License-Identifier: MIT
/*
 * fixed RUNS BATCHES: map the runs of pages that the file RUNS lists ("PAGE PAGES" a line) of a memfd
 * next to each other, as mapdev does for a client, but in one process and by nothing but C.
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <unistd.h>

#include "../clients/bench.h"

enum { PAGE = 4096, MOST = 1 << 20 };

static long first[MOST], length[MOST];

int main(int argc, char **argv)
{
	size_t runs = 0, size = 0, end = 0;
	FILE *list;
	int fd;

	if (argc < 3 || !(list = fopen(argv[1], "r")))
		return 2;
	while (runs < MOST && fscanf(list, "%ld %ld", &first[runs], &length[runs]) == 2) {
		size += length[runs] * PAGE;
		if ((first[runs] + length[runs]) * PAGE > (long)end)
			end = (first[runs] + length[runs]) * PAGE;
		runs++;
	}
	fd = memfd_create("fixed", 0);
	if (fd < 0 || ftruncate(fd, end))
		die("memfd");
	for (int batch = -1; batch < atoi(argv[2]); batch++) {
		double start = now();
		char *base = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		char *at = base;

		for (size_t i = 0; i < runs; i++) {
			if (mmap(at, length[i] * PAGE, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_FIXED, fd, first[i] * PAGE) != at)
				die("mmap");
			at += length[i] * PAGE;
		}
		if (batch >= 0)
			report("mmap", now() - start, 1);
		munmap(base, size);
	}
	return 0;
}
