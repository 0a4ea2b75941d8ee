// SPDX-License-Identifier: MIT
/*
 * Waits for what clients do, and passes on calls that concern no device, without the GIL.
 *
 * classify.c says which calls these are. Python decides on the order of all other events: a call
 * that came together with one is not received here.
 */
#include "native.h"
#include "redirect.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

static bool is_gone(int error)
{
	/* The thread was killed, or its wait interrupted: those of _GONE in quick.py. */
	return error == ENOENT || error == EINTR || error == EAGAIN || error == EALREADY ||
	       error == EINPROGRESS;
}

static int milliseconds_until(double due)
{
	struct timespec now;
	double left;

	if (isinf(due) && due > 0)
		return -1;
	clock_gettime(CLOCK_MONOTONIC, &now);
	left = ceil((due - now.tv_sec - now.tv_nsec / 1e9) * 1000);
	return left > 0 ? left < INT32_MAX ? (int)left : INT32_MAX : 0;
}

static bool is_listener(const struct quick *self, int fd)
{
	for (Py_ssize_t i = 0; i < self->count; i++)
		if (self->fds[i] == fd)
			return true;
	return false;
}

void mapdev_words_of(uint64_t *words, const struct seccomp_notif *notification)
{
	words[ID] = notification->id;
	words[TID] = notification->pid;
	words[ZERO] = notification->flags;
	words[NR] = (uint64_t)(int64_t)notification->data.nr;
	words[ARCH] = notification->data.arch;
	words[IP] = notification->data.instruction_pointer;
	memcpy(words + ARG0, notification->data.args, sizeof(notification->data.args));
}

/* Let the kernel carry out the call that was taken. 0, or -1 with errno. */
int mapdev_pass_on(const struct wait *wait)
{
	struct seccomp_notif_resp response = {
		.id = wait->call[ID],
		.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE,
	};
	int fd = wait->events[wait->next].data.fd;

	return ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &response) && !is_gone(errno) ? -1 : 0;
}

/* Wait and pass on until there is something for Python; without the GIL. */
enum outcome mapdev_serve(const struct quick *self, struct wait *wait)
{
	for (;; wait->next++) {
		struct seccomp_notif notification = { 0 };
		int i;

		if (wait->next >= wait->count) {
			wait->next = 0;
			wait->count = epoll_wait(self->epoll, wait->events, MANY,
						 milliseconds_until(wait->due));
			if (wait->count < 0) {
				wait->count = 0;
				return errno == EINTR ? SIGNAL : FAILED;
			}
			if (!wait->count)
				return EVENTS;
			for (i = 0; i < wait->count; i++)
				if (wait->events[i].events != EPOLLIN ||
				    !is_listener(self, wait->events[i].data.fd))
					return EVENTS;	/* Python knows which comes first */
		}
		/* Not blocked: only this thread receives, and who is killed leaves ENOENT. */
		if (ioctl(wait->events[wait->next].data.fd, SECCOMP_IOCTL_NOTIF_RECV,
			  &notification)) {
			if (is_gone(errno))
				continue;
			return FAILED;
		}
		mapdev_words_of(wait->call, &notification);
		if (self->gate &&
		    mapdev_redirect(self->gate, wait->events[wait->next].data.fd, wait->call))
			continue;
		switch (mapdev_classify(&self->rules, &wait->state, self->names, wait->call,
					wait->link)) {
		case HAND_OVER:
			return CALL;
		case LOOK_UP:
			return LINK;
		case PASS_ON:
			if (mapdev_pass_on(wait))
				return FAILED;
		}
	}
}
