// SPDX-License-Identifier: MIT
/*
 * sleepers NUMBER FILES: have NUMBER processes with FILES open files each that do nothing, print
 * "ready", and end with standard input.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int number = argc > 2 ? atoi(argv[1]) : 0, files = argc > 2 ? atoi(argv[2]) : 0;

	for (int i = 0; i < files; i++)
		if (dup(0) < 0)
			return 1;
	for (int i = 0; i < number; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return 1;
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
	}
	puts("ready");
	fflush(stdout);
	return read(0, &number, 1) != 0;
}
