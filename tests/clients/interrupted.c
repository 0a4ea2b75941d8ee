/*
 * Maps a device in a row of processes, each of which a timer interrupts all the time.
 *
 *   interrupted DEVICE
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE (4 * 4096)

static volatile sig_atomic_t ticks;

static void tick(int number)
{
	ticks += number != 0;
}

static void map(const char *device)
{
	struct itimerval often = { { 0, 300 }, { 0, 300 } };
	int fd;

	setitimer(ITIMER_REAL, &often, NULL);
	fd = open(device, O_RDWR);
	for (int i = 0; i < 5; i++) {
		volatile char *area = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		if (area == MAP_FAILED) {
			perror("mmap");
			_exit(1);
		}
		area[0] = area[2 * 4096] = 1;
		munmap((void *)area, SIZE);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	signal(SIGALRM, tick);
	for (int i = 0; i < 10 && argc > 1; i++) {
		pid_t child = fork();
		int status;

		if (!child)
			map(argv[1]);
		if (waitpid(child, &status, 0) != child || status)
			return 1;
	}
	return argc != 2;
}
