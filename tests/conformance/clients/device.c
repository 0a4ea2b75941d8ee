// SPDX-License-Identifier: MIT
/*
 * The device under test: a reference device and its control device, a memfd of our own, or any
 * device at a node, of which the rows see what they can without a control device: nothing is
 * counted, its memory is written and read by the device's own operations.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "row.h"

static const char *const operation_names[REF_NR_OPERATIONS] = {
	"open", "release", "mmap", "vm_open", "vm_close", "fault", "mkwrite", "pfn_mkwrite",
	"fsync", "mremap", "may_split", "mprotect", "access", "read", "write",
	"llseek", "ioctl", "flush", "fasync", "show", "store",
};

static const char *node;	/* of a device without a control device */
static int control = -1;	/* of such a device: itself */
static int memfd = -1;
static char *memfd_bytes;	/* what a driver's view of its memory is, for a memfd */
static struct ref_request before;

int device_is_memfd(void)
{
	return !strcmp(device, "memfd");
}

void connect_to_device(const char *at)
{
	const char *path = at ? at : "/dev/ref_ctl";

	node = at;
	if (!device_is_memfd()) {
		control = open(path, O_RDWR | O_CLOEXEC);
		if (control >= 0)
			return;
		perror(path);
		exit(2);
	}
	memfd = memfd_create("frames", MFD_CLOEXEC);
	if (memfd < 0 || ftruncate(memfd, whole)) {
		perror("memfd");
		exit(2);
	}
	memfd_bytes = mmap(NULL, whole, PROT_RW, MAP_SHARED, memfd, 0);
}

/* Mistakes here are mistakes of the suite, so they end the row, except for commands that a driver
 * may lack (tell_driver).
 */
static void ask_driver(unsigned int command, struct ref_request *request)
{
	if (node)
		cannot("ask a device that has no control device");
	snprintf(request->device, sizeof(request->device), "%s", device);
	if (!ioctl(control, command, request))
		return;
	say(" control:%s", error_name(errno));
	exit(2);
}

static void write_at(size_t offset, const void *data, size_t size)
{
	if (pwrite(control, data, size, offset) == (ssize_t)size)
		return;
	perror(node);
	exit(2);
}

static void reset_node(void)
{
	char *data = calloc(1, page);
	int number;

	for (number = 0; number < NPAGES; number++) {
		sprintf(data, "PAGE%02d", number);
		write_at(number * page, data, page);
	}
	free(data);
}

void reset_device(void)
{
	struct ref_request request = { 0 };
	int number;

	if (node) {
		reset_node();
		return;
	}
	if (!device_is_memfd()) {
		ask_driver(REF_RESET, &request);
		return;
	}
	if (ftruncate(memfd, whole))	/* rows may have changed that */
		exit(2);
	memset(memfd_bytes, 0, whole);
	for (number = 0; number < NPAGES; number++)
		sprintf(memfd_bytes + number * page, "PAGE%02d", number);
}

const char *device_path(void)
{
	static char path[64];

	if (node)
		snprintf(path, sizeof(path), "%s", node);
	else if (device_is_memfd())
		snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd);
	else
		snprintf(path, sizeof(path), "/dev/ref_%s", device);
	return path;
}

int open_device(int flags)
{
	return open(device_path(), flags);
}

/* The system call itself: the C library would refuse some of what rows ask. */
void *map(void *address, size_t length, int prot, int flags, int fd, unsigned long offset)
{
	return (void *)syscall(SYS_mmap, address, length, prot, flags, fd, offset);
}

struct mapping map_shared(size_t pages)
{
	/* Far from all else, so that it merges with nothing and has room to grow. */
	char *hint = (char *)0x300000000000;
	struct mapping m = { .fd = open_device(O_RDWR) };

	m.start = map(hint, pages * page, PROT_RW, MAP_SHARED, m.fd, 0);
	if (m.start != MAP_FAILED)
		return m;
	say("mmap:%s", error_name(errno));
	exit(0);
}

void *reserve(size_t pages)
{
	return map(NULL, pages * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

void *free_range(size_t pages)
{
	char *start = reserve(pages);

	munmap(start, pages * page);
	return start;
}

struct ref_request driver_state(void)
{
	struct ref_request request = { 0 };

	if (!device_is_memfd())
		ask_driver(REF_GET, &request);
	return request;
}

void watch(void)
{
	if (!node)
		before = driver_state();
}

int is_released(void)
{
	struct ref_request now;

	if (node)
		return 1;
	now = driver_state();
	return now.ran[REF_OPEN] == now.ran[REF_RELEASE];
}

void say_ran(const char *tag)
{
	struct ref_request now;
	const char *space = "";
	int i;

	if (device_is_memfd())
		return;
	if (node) {
		say(" %s[]", tag);
		return;
	}
	now = driver_state();
	say(" %s[", tag);
	for (i = 0; i < REF_NR_OPERATIONS; i++) {
		if (now.ran[i] == before.ran[i])
			continue;
		say("%s%s%+lld", space, operation_names[i], (long long)(now.ran[i] - before.ran[i]));
		space = " ";
	}
	say("%s]", *space ? "" : "-");
	before = now;
}

long tell_driver(unsigned int command, long value)
{
	struct ref_request request = { .value = value };

	if (node)
		cannot("tell a device that has no control device");
	snprintf(request.device, sizeof(request.device), "%s", device);
	return ioctl(control, command, &request);
}

int driver_byte(size_t offset)
{
	struct ref_request request = { .offset = offset };
	unsigned char byte;

	if (node) {
		if (pread(control, &byte, 1, offset) == 1)
			return byte;
		perror(node);
		exit(2);
	}
	if (device_is_memfd())
		return (unsigned char)memfd_bytes[offset];
	ask_driver(REF_PEEK, &request);
	return request.value;
}

int is_frame_of_device(unsigned long pfn)
{
	struct ref_request request = { 0 };
	int number;

	for (number = 0; number < NPAGES && !device_is_memfd(); number++) {
		request.offset = number * page;
		ask_driver(REF_PEEK, &request);
		if (request.pfn == pfn)
			return 1;
	}
	return 0;
}

void set_driver_byte(size_t offset, int value)
{
	struct ref_request request = { .offset = offset, .value = value };
	char byte = value;

	if (node)
		write_at(offset, &byte, 1);
	else if (device_is_memfd())
		memfd_bytes[offset] = value;
	else
		ask_driver(REF_POKE, &request);
}
