/*
 * Maps a device in all ordinary ways, touches it and takes it away again: by one thread, by
 * several, in a child, privately, at an address of its own. Prints how often that succeeded, or
 * says where it failed. Built plainly, with sanitizers, and run by debuggers and tracers.
 *
 *   mapper DEVICE [BYTES]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(what) ((what) ? (void)0 : fail(#what, __LINE__))

static const char *device;
static size_t page, size;
static int *asked; /* shared with the child */

static void fail(const char *what, int line)
{
	fprintf(stderr, "mapper.c:%d: %s: %s\n", line, what, strerror(errno));
	_exit(1);
}

static volatile char *map(int fd, void *at, int kind)
{
	volatile char *area = mmap(at, size, PROT_READ | PROT_WRITE, kind, fd, 0);

	CHECK(area != MAP_FAILED);
	__atomic_fetch_add(asked, 1, __ATOMIC_RELAXED);
	return area;
}

static void unmap(volatile char *area)
{
	CHECK(munmap((void *)area, size) == 0);
}

static void use(int fd)
{
	volatile char *area = map(fd, NULL, MAP_SHARED), *other = map(fd, NULL, MAP_SHARED);
	char *room;

	for (size_t at = 0; at < size; at += page)
		area[at] = (char)(at / page + 1);
	for (size_t at = 0; at < size; at += page)
		CHECK(other[at] == (char)(at / page + 1));
	unmap(other);
	room = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(room != MAP_FAILED);
	CHECK(map(fd, room, MAP_SHARED | MAP_FIXED) == room);
	CHECK(room[0] == 1);
	unmap(room);
	unmap(area);
}

static void *use_in_thread(void *fd)
{
	for (int i = 0; i < 5; i++)
		use(*(int *)fd);
	return NULL;
}

static void use_in_child(int fd)
{
	volatile char *area = map(fd, NULL, MAP_SHARED);
	pid_t child = fork();
	int status;

	CHECK(child >= 0);
	if (!child) {
		area[0] = 1;
		use(fd);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(status == 0);
	CHECK(area[0] == 1);
	unmap(area);
}

int main(int argc, char **argv)
{
	pthread_t threads[2];
	volatile char *private;
	int fd;

	CHECK(argc > 1);
	device = argv[1];
	page = (size_t)sysconf(_SC_PAGESIZE);
	size = argc > 2 ? strtoul(argv[2], NULL, 0) : 4 * page;
	asked = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(asked != MAP_FAILED);
	fd = open(device, O_RDWR);
	CHECK(fd >= 0);
	use(fd);
	use_in_child(fd);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_create(&threads[i], NULL, use_in_thread, &fd) == 0);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	private = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(private != MAP_FAILED || errno == EINVAL); /* frames one by one: not privately */
	if (private != MAP_FAILED) {
		++*asked;
		private[0] = 9;
		CHECK(private[0] == 9);
		unmap(private);
	}
	map(fd, NULL, MAP_SHARED)[0] = 1; /* its end is that of the program */
	CHECK(close(fd) == 0);
	printf("%d\n", *asked);
	return 0;
}
