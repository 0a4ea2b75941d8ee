// SPDX-License-Identifier: MIT
/* Linux AIO, io_submit(2): requests that name a device, and io_uring's. */
#define _GNU_SOURCE
#include <linux/aio_abi.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "row.h"

static aio_context_t setup(void)
{
	aio_context_t context = 0;

	if (syscall(SYS_io_setup, 4, &context))
		say(" io_setup=%s", error_name(errno));
	return context;
}

/* Submit one request; if it was taken, wait for what came of it. */
static void say_submit(const char *name, aio_context_t context, struct iocb request)
{
	struct iocb *list[] = { &request };
	struct timespec limit = { 2, 0 };
	struct io_event event;
	long result = syscall(SYS_io_submit, context, 1, list);

	say(" %s=%s", name, amount(result));
	if (result != 1)
		return;
	if (syscall(SYS_io_getevents, context, 1, 1, &event, &limit) != 1)
		say(":nothing");
	else if (event.res < 0)
		say(":%s", error_name(-event.res));
	else
		say(":%lld", (long long)event.res);
}

/* Reads and writes: a driver with read and write alone can't do them. */
static void aio_transfers(void)
{
	aio_context_t context = setup();
	int fd = open_for_use(O_RDWR);
	char data[8] = "aaaaaaa";
	struct iovec vector = { data, 5 };
	struct iocb request = {
		.aio_fildes = fd, .aio_lio_opcode = IOCB_CMD_PREAD, .aio_buf = (long)data, .aio_nbytes = 5,
	};

	watch();
	say_submit("pread", context, request);
	say(" data=%.5s", data);
	request.aio_lio_opcode = IOCB_CMD_PWRITE;
	say_submit("pwrite", context, request);
	say(" drv=%c", driver_byte(0));
	request.aio_buf = (long)&vector;
	request.aio_nbytes = 1;
	request.aio_lio_opcode = IOCB_CMD_PREADV;
	say_submit("preadv", context, request);
	request.aio_lio_opcode = IOCB_CMD_PWRITEV;
	say_submit("pwritev", context, request);
	say_ran("drv");
}

/* fsync and fdatasync. */
static void aio_sync(void)
{
	aio_context_t context = setup();
	struct iocb request = { .aio_fildes = open_device(O_RDWR), .aio_lio_opcode = IOCB_CMD_FSYNC };

	watch();
	say_submit("fsync", context, request);
	request.aio_lio_opcode = IOCB_CMD_FDSYNC;
	say_submit("fdsync", context, request);
	request.aio_nbytes = 1;
	say_submit("bytes", context, request);
	say_ran("drv");
}

/* Waiting for what poll says. */
static void aio_poll(void)
{
	aio_context_t context = setup();
	struct iocb request = {
		.aio_fildes = open_for_use(O_RDWR), .aio_lio_opcode = IOCB_CMD_POLL, .aio_buf = POLLIN,
	};

	say_submit("in", context, request);
	request.aio_buf = POLLIN | POLLOUT;
	say_submit("both", context, request);
	request.aio_nbytes = 1;
	say_submit("bytes", context, request);
}

/* Requests that are none. */
static void aio_refused(void)
{
	aio_context_t context = setup();
	char data[8];
	int rdonly = open_device(O_RDONLY), wronly = open_device(O_WRONLY), path = open_device(O_PATH);
	struct iocb request = { .aio_lio_opcode = IOCB_CMD_PREAD, .aio_buf = (long)data, .aio_nbytes = 4 };
	struct iocb *list[] = { NULL };

	watch();
	request.aio_fildes = wronly;
	say_submit("read_wronly", context, request);
	request.aio_fildes = path;
	say_submit("path", context, request);
	request.aio_fildes = 999;
	say_submit("bad", context, request);
	request.aio_fildes = rdonly;
	request.aio_lio_opcode = IOCB_CMD_PWRITE;
	say_submit("write_rdonly", context, request);
	request.aio_lio_opcode = 99;
	say_submit("opcode", context, request);
	request.aio_lio_opcode = IOCB_CMD_PREAD;
	request.aio_reserved2 = 1;
	say_submit("reserved", context, request);
	request.aio_reserved2 = 0;
	request.aio_offset = -1;
	say_submit("offset", context, request);
	request.aio_offset = 0;
	request.aio_nbytes = -1;
	say_submit("count", context, request);
	say(" null=%s", amount(syscall(SYS_io_submit, context, 1, list)));
	say(" none=%s", amount(syscall(SYS_io_submit, context, 0, list)));
	say(" minus=%s", amount(syscall(SYS_io_submit, context, -1, list)));
	say_ran("drv");
}

/* An eventfd is told of what is done; here the device stands in its place. */
static void aio_told_by(void)
{
	aio_context_t context = setup();
	struct iocb request = {
		.aio_fildes = other_file(), .aio_lio_opcode = IOCB_CMD_FSYNC, .aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = open_device(O_RDWR),
	};

	say_submit("resfd", context, request);
	request.aio_flags = 0;
	say_submit("without", context, request);
}

const struct row aio_rows[] = {
	ROW(aio_transfers),
	ROW(aio_sync),
	ROW(aio_poll),
	ROW(aio_refused),
	ROW(aio_told_by),
	{ },
};
