// SPDX-License-Identifier: MIT
/*
 * fuse MOUNTPOINT: a file system of one file, "device", by libfuse's low-level API: direct I/O, one
 * thread (more only add wake-ups here), requests of up to 1 MiB. Reads come from one buffer and writes
 * go into it, as in the driver that it is compared with.
 */
#define FUSE_USE_VERSION 35
#include <errno.h>
#include <fuse_lowlevel.h>
#include <string.h>
#include <sys/stat.h>

#include "../clients/bench.h"

enum { DEVICE = 2, MOST = 1 << 20 };

static char data[MOST];

static void attributes(fuse_ino_t ino, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_mode = ino == DEVICE ? S_IFREG | 0666 : S_IFDIR | 0755;
	st->st_nlink = 1;
}

static void bench_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->max_read = conn->max_write = MOST;
}

static void bench_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry = { .ino = DEVICE, .attr_timeout = 60, .entry_timeout = 60 };

	(void)parent;
	if (strcmp(name, "device")) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	attributes(DEVICE, &entry.attr);
	fuse_reply_entry(req, &entry);
}

static void bench_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	attributes(ino, &st);
	fuse_reply_attr(req, &st, 60);
}

static void bench_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->direct_io = 1;
	fuse_reply_open(req, fi);
}

static void bench_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	(void)ino, (void)off, (void)fi;
	fuse_reply_buf(req, data, size < MOST ? size : MOST);
}

static void bench_write(fuse_req_t req, fuse_ino_t ino, const char *from, size_t size, off_t off,
			struct fuse_file_info *fi)
{
	(void)ino, (void)off, (void)fi;
	memcpy(data, from, size);
	fuse_reply_write(req, size);
}

static void bench_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
			struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
			size_t out_size)
{
	struct bench_exchange exchange;

	(void)ino, (void)arg, (void)fi, (void)flags;
	if (cmd == BENCH_PING) {
		fuse_reply_ioctl(req, 0, NULL, 0);
	} else if (cmd == BENCH_EXCHANGE && in_size == sizeof(exchange) && out_size == in_size) {
		memcpy(&exchange, in, sizeof(exchange));
		exchange.out = exchange.in + 1;
		fuse_reply_ioctl(req, 0, &exchange, sizeof(exchange));
	} else {
		fuse_reply_err(req, ENOTTY);
	}
}

static const struct fuse_lowlevel_ops operations = {
	.init = bench_init,
	.lookup = bench_lookup,
	.getattr = bench_getattr,
	.open = bench_open,
	.read = bench_read,
	.write = bench_write,
	.ioctl = bench_ioctl,
};

int main(int argc, char **argv)
{
	char *options[] = { argv[0], "-o", "max_read=1048576", NULL };
	struct fuse_args args = FUSE_ARGS_INIT(3, options);
	struct fuse_session *session;
	int status;

	if (argc != 2)
		return 2;
	session = fuse_session_new(&args, &operations, sizeof(operations), NULL);
	if (!session || fuse_set_signal_handlers(session) || fuse_session_mount(session, argv[1]))
		return 1;
	status = fuse_session_loop(session);
	fuse_session_unmount(session);
	fuse_session_destroy(session);
	return status < 0;
}
