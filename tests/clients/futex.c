/* An atomic counter in a page that two processes map from the device, where no futex can be that
 * both use. futex NODE
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int fd = open(argv[1], O_RDWR);
	_Atomic int *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int status;

	if (word == MAP_FAILED)
		return 1;
	if (fork() == 0) {
		while (atomic_load(word) == 0)
			usleep(1000);
		for (int i = 0; i < 100000; i++)
			atomic_fetch_add(word + 1, 1);
		_exit(0);
	}
	if (syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0) != -1 || errno != EFAULT)
		fprintf(stderr, "waiting for a shared futex did not fail with EFAULT\n");
	if (syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) != 0)
		fprintf(stderr, "a private futex did not work\n");
	atomic_store(word, 1);
	for (int i = 0; i < 100000; i++)
		atomic_fetch_add(word + 1, 1);
	wait(&status);
	printf("%d\n", atomic_load(word + 1));
	return status || atomic_load(word + 1) != 200000;
}
