// SPDX-License-Identifier: MIT
/*
 * cuse NAME: a character device /dev/NAME by libfuse's CUSE, one thread. Reads come from one buffer
 * and writes go into it, as in the driver that it is compared with. The kernel cuts transfers into
 * requests of 128 KiB, more it does not offer to CUSE.
 */
#define FUSE_USE_VERSION 35
#include <cuse_lowlevel.h>
#include <errno.h>
#include <fuse_lowlevel.h>
#include <string.h>

#include "../clients/bench.h"

enum { MOST = 1 << 20 };

static char data[MOST];

static void bench_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->max_read = conn->max_write = MOST;
}

static void bench_open(fuse_req_t req, struct fuse_file_info *fi)
{
	fuse_reply_open(req, fi);
}

static void bench_read(fuse_req_t req, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)off, (void)fi;
	fuse_reply_buf(req, data, size < MOST ? size : MOST);
}

static void bench_write(fuse_req_t req, const char *from, size_t size, off_t off,
			struct fuse_file_info *fi)
{
	(void)off, (void)fi;
	memcpy(data, from, size < MOST ? size : MOST);
	fuse_reply_write(req, size);
}

static void bench_ioctl(fuse_req_t req, int cmd, void *arg, struct fuse_file_info *fi,
			unsigned int flags, const void *in, size_t in_size, size_t out_size)
{
	struct bench_exchange exchange;

	(void)arg, (void)fi, (void)flags;
	if (cmd == (int)BENCH_PING) {
		fuse_reply_ioctl(req, 0, NULL, 0);
	} else if (cmd == (int)BENCH_EXCHANGE && in_size == sizeof(exchange) &&
		   out_size == in_size) {
		memcpy(&exchange, in, sizeof(exchange));
		exchange.out = exchange.in + 1;
		fuse_reply_ioctl(req, 0, &exchange, sizeof(exchange));
	} else {
		fuse_reply_err(req, ENOTTY);
	}
}

static const struct cuse_lowlevel_ops operations = {
	.init = bench_init,
	.open = bench_open,
	.read = bench_read,
	.write = bench_write,
	.ioctl = bench_ioctl,
};

int main(int argc, char **argv)
{
	char *options[] = { argv[0], "-f", "-s", NULL };
	char device[64];
	const char *information[] = { device };
	struct cuse_info info = { .dev_info_argc = 1, .dev_info_argv = information };

	if (argc != 2)
		return 2;
	snprintf(device, sizeof(device), "DEVNAME=%s", argv[1]);
	return cuse_lowlevel_main(3, options, &info, &operations, NULL);
}
