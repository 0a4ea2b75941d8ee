// SPDX-License-Identifier: MIT
/* Passing the memory to the kernel: as a plain buffer, and where it wants the pages themselves. */
#define _GNU_SOURCE
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "row.h"

/* A plain buffer to be read from: a fault like any other. */
static void sys_write_from(void)
{
	struct mapping m = map_shared(NPAGES);
	char data[8] = "";
	int ends[2];
	long written;

	if (pipe(ends))
		return;
	watch();
	written = write(ends[1], m.start + page, 6);
	say("write=%s", exactly(written, 6));
	say_ran("drv");
	if (written == 6 && read(ends[0], data, 6) == 6)
		say(" data=%s", data);
}

/* A plain buffer to be written to. */
static void sys_read_into(void)
{
	struct mapping m = map_shared(NPAGES);
	int ends[2];

	if (pipe(ends) || write(ends[1], "HELLO", 5) != 5)
		return;
	watch();
	say("read=%s", exactly(read(ends[0], m.start + 2 * page, 5), 5));
	say_ran("drv");
	say(" drv=%c", driver_byte(2 * page));
}

/* The device's own read operation, into a mapping of the device. */
static void sys_self_read_into_own_map(void)
{
	struct mapping m = map_shared(NPAGES);

	watch();
	say("pread(dev,into own map)=%s",
	    exactly(pread(m.fd, m.start + 4 * page, page, page), page));
	say(" page4=%s", page_name(m.start + 4 * page));
	say_ran("drv");
}

/* As a debugger does it. */
static void sys_procmem(void)
{
	struct mapping m = map_shared(NPAGES);
	int memory = open("/proc/self/mem", O_RDWR);
	char data[8];

	watch();
	say("read=%s", exactly(pread(memory, data, 6, (off_t)m.start), 6));
	say(" write=%s", exactly(pwrite(memory, "W", 1, (off_t)m.start), 1));
	say(" landed=%d", driver_byte(0) == 'W');
	say_ran("drv");
}

/* Its pages put into a pipe. */
static void sys_vmsplice(void)
{
	struct mapping m = map_shared(NPAGES);
	struct iovec vector = { m.start, page };
	int ends[2];

	if (!pipe(ends))
		say("vmsplice=%s", exactly(vmsplice(ends[1], &vector, 1, 0), page));
}

/* Its pages kept by the kernel for requests to come. */
static void sys_iouring_regbuf(void)
{
	struct mapping m = map_shared(NPAGES);
	struct iovec vector = { m.start, whole };
	struct io_uring_params parameters = { 0 };
	int ring = syscall(SYS_io_uring_setup, 1, &parameters);

	if (ring < 0)
		say("setup:%s", error_name(errno));
	else
		say("IORING_REGISTER_BUFFERS=%s",
		    status(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &vector, 1)));
}

/* Its pages given to a disk: needs a file system that knows O_DIRECT in the working directory. */
static void sys_odirect(void)
{
	struct mapping m = map_shared(NPAGES);
	int fd = open("odirect.tmp", O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
	void *plain = map(NULL, page, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	unlink("odirect.tmp");
	/* It needs blocks: a hole would be read without the disk. */
	if (fd < 0 || pwrite(fd, plain, page, 0) != (long)page)
		cannot("make a file for O_DIRECT in the working directory");
	say("write=%s", exactly(pwrite(fd, m.start, page, 0), page));
	say(" read=%s", exactly(pread(fd, m.start, page, 0), page));
}

const struct row kernel_access_rows[] = {
	ROW(sys_write_from),
	ROW(sys_read_into),
	ROW(sys_self_read_into_own_map),
	ROW(sys_procmem),
	ROW(sys_vmsplice),
	ROW(sys_iouring_regbuf),
	ROW(sys_odirect),
	{ },
};
