// SPDX-License-Identifier: MIT
/*
 * libuv PATH: reads back what it writes to a device that hands on what is written to it, each
 * upon an event of libuv's loop, the one of Node.js: level-triggered epoll, changed again and again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define SIZE (1 << 16)

static unsigned char data[SIZE], got[SIZE];
static size_t written, taken;
static uv_poll_t reader, writer;
static uv_timer_t limit;

static void failed(const char *what)
{
	perror(what);
	exit(1);
}

static void on_writable(uv_poll_t *handle, int status, int events)
{
	ssize_t n = write(handle->io_watcher.fd, data + written, SIZE - written);

	(void)status, (void)events;
	if (n < 0 && errno != EAGAIN)
		failed("write");
	written += n > 0 ? n : 0;
	if (written == SIZE)
		uv_poll_stop(handle);
}

static void on_readable(uv_poll_t *handle, int status, int events)
{
	ssize_t n = read(handle->io_watcher.fd, got + taken, SIZE - taken);

	(void)status, (void)events;
	if (n < 0 && errno != EAGAIN)
		failed("read");
	taken += n > 0 ? n : 0;
	if (taken == SIZE)
		uv_stop(handle->loop);
}

static void on_limit(uv_timer_t *timer)
{
	(void)timer;
	fprintf(stderr, "no event: %zu written, %zu read\n", written, taken);
	exit(1);
}

static void watch(uv_poll_t *handle, const char *path, int events, uv_poll_cb callback)
{
	int fd = open(path, O_RDWR | O_NONBLOCK);

	if (fd < 0)
		failed(path);
	if (uv_poll_init(uv_default_loop(), handle, fd) || uv_poll_start(handle, events, callback))
		failed("uv_poll");
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	for (int i = 0; i < SIZE; i++)
		data[i] = i * 7;
	watch(&reader, argv[1], UV_READABLE, on_readable);
	watch(&writer, argv[1], UV_WRITABLE, on_writable);
	uv_timer_init(uv_default_loop(), &limit);
	uv_timer_start(&limit, on_limit, 10000, 0);
	uv_run(uv_default_loop(), UV_RUN_DEFAULT);
	if (memcmp(data, got, SIZE))
		return 2;
	puts("ok");
	return 0;
}
