/* Many threads that open, map, write, check and unmap a device at once. threads NODE THREADS ROUNDS */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *node;
static int rounds;

static void *work(void *arg)
{
	long me = (long)arg;
	long page = sysconf(_SC_PAGESIZE);
	int fd = open(node, O_RDWR);

	if (fd < 0) {
		perror("open");
		exit(1);
	}
	for (int i = 0; i < rounds; i++) {
		volatile char *p = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		if (p == MAP_FAILED) {
			perror("mmap");
			exit(1);
		}
		p[me] = (char)i;
		p[3 * page + me] = (char)(i + 1);
		if (p[me] != (char)i || p[3 * page + me] != (char)(i + 1)) {
			fprintf(stderr, "thread %ld: wrong bytes\n", me);
			exit(1);
		}
		munmap((void *)p, 4 * page);
	}
	close(fd);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[64];
	int count = argc > 2 ? atoi(argv[2]) : 8;

	node = argv[1];
	rounds = argc > 3 ? atoi(argv[3]) : 10;
	for (long i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)i))
			return 1;
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
