/*
 * One thread maps and unmaps a device while others fork: no child may have a descriptor that its
 * parent's code did not open. forks NODE FORKS
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int finished;
static int fd;

static void *map(void *arg)
{
	while (!finished) {
		char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		if (p == MAP_FAILED) {
			perror("mmap");
			exit(1);
		}
		p[0] = 1;
		munmap(p, 8192);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	int status, strange = 0;

	fd = open(argv[1], O_RDWR);
	pthread_create(&thread, NULL, map, NULL);
	for (int i = 0; i < atoi(argv[2]); i++) {
		pid_t pid = fork();

		if (pid == 0) {
			int found = 0;

			DIR *list = opendir("/proc/self/fd");
			struct dirent *entry;

			while ((entry = readdir(list)))
				if (atoi(entry->d_name) > 2 && atoi(entry->d_name) != fd &&
				    atoi(entry->d_name) != dirfd(list))
					found++;
			_exit(found);
		}
		waitpid(pid, &status, 0);
		strange += status != 0;
	}
	finished = 1;
	pthread_join(thread, NULL);
	if (strange)
		fprintf(stderr, "%d children had a descriptor too many\n", strange);
	return strange != 0;
}
