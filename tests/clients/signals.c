/*
 * Signals while a device is mapped: a timer fires all the time, a second thread sends queued signals
 * with numbered values, and the main thread maps and unmaps. All queued signals must arrive, once
 * and in order, with their values, and no call may fail. signals NODE ROUNDS
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

static volatile sig_atomic_t alarms, next, wrong, traps;
static volatile int finished;
static pthread_t main_thread;

static void on_alarm(int sig) { alarms++; }
static void on_trap(int sig) { traps++; }

static void on_queued(int sig, siginfo_t *info, void *context)
{
	if (info->si_value.sival_int != next || info->si_code != SI_QUEUE || info->si_pid != getpid())
		wrong++;
	next++;
}

static void *sender(void *arg)
{
	union sigval value = { 0 };

	while (!finished) {
		if (pthread_sigqueue(main_thread, SIGRTMIN, value) == 0)
			value.sival_int++;
		usleep(200);
	}
	return (void *)(long)value.sival_int;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_flags = SA_RESTART };
	struct itimerval timer = { { 0, 500 }, { 0, 500 } };
	int rounds = atoi(argv[2]);
	pthread_t thread;
	void *sent;
	int fd;

	action.sa_handler = on_alarm;
	sigaction(SIGALRM, &action, NULL);
	action.sa_handler = on_trap;
	sigaction(SIGTRAP, &action, NULL);
	action.sa_sigaction = on_queued;
	action.sa_flags |= SA_SIGINFO;
	sigaction(SIGRTMIN, &action, NULL);
	main_thread = pthread_self();
	fd = open(argv[1], O_RDWR);
	pthread_create(&thread, NULL, sender, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	for (int i = 0; i < rounds; i++) {
		char *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		char c;

		if (p == MAP_FAILED) {
			fprintf(stderr, "mmap: %s\n", strerror(errno));
			return 1;
		}
		p[0] = (char)i;
		if (pread(fd, &c, 1, 0) != 1 || c != (char)i) {
			fprintf(stderr, "pread: %s\n", strerror(errno));
			return 1;
		}
		munmap(p, 65536);
	}
	timer.it_value.tv_usec = 0;
	setitimer(ITIMER_REAL, &timer, NULL);
	finished = 1;
	pthread_join(thread, &sent);
	printf("alarms %d queued %ld arrived %d wrong %d traps %d\n", alarms, (long)sent, next, wrong, traps);
	return wrong || traps || next != (long)sent || !alarms;
}
