/*
 * Maps a device, writes 'A' to its second page, and calls use(), for a debugger to stop there. Then
 * maps and unmaps it in three threads at once, and goes on alone after the main thread's end.
 *
 *   debugged DEVICE
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE (4 * 4096)

volatile char *area;
static int fd;

static volatile char *map(void)
{
	volatile char *mapped = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (mapped == MAP_FAILED) {
		perror("mmap");
		_exit(1);
	}
	return mapped;
}

static void *map_again(void *unused)
{
	for (int i = 0; i < 20; i++) {
		volatile char *mapped = map();

		for (int at = 0; at < SIZE; at += 4096)
			mapped[at]++;
		munmap((void *)mapped, SIZE);
	}
	return unused;
}

__attribute__((noinline)) static void use(void)
{
	__asm__ volatile("" ::: "memory");
}

int main(int argc, char **argv)
{
	pthread_t threads[2];

	fd = argc > 1 ? open(argv[1], O_RDWR) : -1;
	area = map();
	area[4096] = 'A';
	use();
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, map_again, NULL);
	map_again(NULL);
	pthread_detach(threads[0]);
	pthread_exit(NULL);
}
