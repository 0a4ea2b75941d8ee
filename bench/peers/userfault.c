// SPDX-License-Identifier: MIT
/*
 * userfault PAGES BATCHES: read a byte of each page of memory whose faults a thread answers by
 * UFFDIO_COPY; nanoseconds a page.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../clients/bench.h"

enum { PAGE = 4096 };

static char page[PAGE] __attribute__((aligned(PAGE)));

static void *answer(void *argument)
{
	int fd = *(int *)argument;
	struct uffd_msg message;

	while (read(fd, &message, sizeof(message)) == sizeof(message)) {
		struct uffdio_copy copy = {
			.dst = message.arg.pagefault.address & ~(PAGE - 1UL),
			.src = (unsigned long)page,
			.len = PAGE,
		};

		if (ioctl(fd, UFFDIO_COPY, &copy))
			die("UFFDIO_COPY");
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct uffdio_api api = { .api = UFFD_API };
	long pages;
	pthread_t thread;
	int fd;

	if (argc < 3)
		return 2;
	pages = atol(argv[1]);
	fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		die("userfaultfd");
	if (pthread_create(&thread, NULL, answer, &fd))
		return 1;
	for (int batch = -1; batch < atoi(argv[2]); batch++) {
		volatile char *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
					     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		struct uffdio_register area = {
			.range = { (unsigned long)memory, pages * PAGE },
			.mode = UFFDIO_REGISTER_MODE_MISSING,
		};
		double start;

		if (ioctl(fd, UFFDIO_REGISTER, &area))
			die("UFFDIO_REGISTER");
		start = now();
		for (long i = 0; i < pages; i++)
			(void)memory[i * PAGE];
		if (batch >= 0)
			report("fault", now() - start, pages);
		munmap((void *)memory, pages * PAGE);
	}
	return 0;
}
