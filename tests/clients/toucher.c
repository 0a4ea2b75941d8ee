// SPDX-License-Identifier: MIT
/*
 * toucher DEVICE THREADS PAGES [exit]: map PAGES pages; THREADS threads add 1 to the first byte of
 * each, each in an order of its own. With "exit" every thread, the first included, ends by exit(2).
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned char *map;
static long page, pages;

static void *touch(void *argument)
{
	long step = 2 * (long)argument + 1, at, i;

	for (i = 0, at = 0; i < pages; i++, at = (at + step) % pages)
		__atomic_fetch_add(map + at * page, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

int main(int argc, char **argv)
{
	long threads, i;
	pthread_t id[64];
	int fd;

	if (argc < 4)
		return 2;
	threads = atol(argv[2]);
	pages = atol(argv[3]);
	page = sysconf(_SC_PAGESIZE);
	fd = open(argv[1], O_RDWR);
	map = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return 1;
	for (i = 0; i < threads; i++)
		if (pthread_create(&id[i], NULL, touch, (void *)i))
			return 1;
	if (argc > 4)
		syscall(SYS_exit, 0);
	for (i = 0; i < threads; i++)
		pthread_join(id[i], NULL);
	return 0;
}
