// SPDX-License-Identifier: MIT
/* Protections, and what the mode of the open file and the mount allow. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "row.h"

/* A shared mapping of a file opened for reading must never become writable. */
static void mode_mprotect_rdonly_w(void)
{
	int fd = open_device(O_RDONLY);
	char *p = map(NULL, whole, PROT_READ, MAP_SHARED, fd, 0);

	say("mmap:%s", mapped(p));
	say(" mprotect(RW):%s", status(mprotect(p, whole, PROT_RW)));
	say(" write=%s", store(p, 1));
	say_smaps(p, (const char *const[]){ "VmFlags", NULL });
}

/* One of a file opened for both can become writable, and the driver sees what is written. */
static void mode_mprotect_rdwr_w(void)
{
	int fd = open_device(O_RDWR);
	char *p = map(NULL, whole, PROT_READ, MAP_SHARED, fd, 0);

	say("mmap:%s", mapped(p));
	say(" write_before=%s", store(p, 1));
	say(" mprotect(RW):%s", status(mprotect(p, whole, PROT_RW)));
	say(" write_after=%s", store(p, 'Q'));
	say(" drv_sees=%d", driver_byte(0) == 'Q');
}

/* An inaccessible mapping: a touch is no fault for the driver until mprotect allows it. */
static void mode_prot_none(void)
{
	int fd = open_device(O_RDWR);
	char *p;

	watch();
	p = map(NULL, whole, PROT_NONE, MAP_SHARED, fd, 0);
	say("%s", mapped(p));
	say(" read=%s", load(p));
	say_ran("drv");
	say(" mprotect(R):%s", status(mprotect(p, whole, PROT_READ)));
	say(" read=%s", load(p));
	say_ran("drv");
}

/* PROT_WRITE alone: processors that can't do that allow reading too. */
static void mode_w_only_prot(void)
{
	int fd = open_device(O_RDWR);
	char *p = map(NULL, whole, PROT_WRITE, MAP_SHARED, fd, 0);

	say("%s", mapped(p));
	if (p != MAP_FAILED) {
		say(" read=%s", load(p));
		say(" write=%s", store(p, 1));
	}
	say_maps(p);
}

/* Put a function that does nothing at the start of the device's memory. */
static void put_code(void)
{
#if defined(__x86_64__)
	static const unsigned char code[] = { 0xc3 };			/* ret */
#elif defined(__aarch64__)
	static const unsigned char code[] = { 0xc0, 0x03, 0x5f, 0xd6 };	/* ret */
#else
#error "which instruction returns from a function?"
#endif
	size_t i;

	for (i = 0; i < sizeof(code); i++)
		set_driver_byte(i, code[i]);
}

/* Code in device memory: runs where PROT_EXEC says so, and nowhere else. */
static void mode_exec(void)
{
	int fd = open_device(O_RDWR);
	char *p, *q;

	put_code();
	p = map(NULL, whole, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	say("%s", mapped(p));
	if (p != MAP_FAILED) {
		__builtin___clear_cache(p, p + page);
		say(" call=%s", call(p));
	}
	q = map(NULL, whole, PROT_READ, MAP_SHARED, fd, 0);
	say(" call_noexec=%s", call(q));
	say(" mprotect(RX):%s", status(mprotect(q, whole, PROT_READ | PROT_EXEC)));
	say(" call=%s", call(q));
}

/* The same node on a mount with noexec, at /devnx: no mapping of it can be executable. */
static void mode_noexec_mount(void)
{
	char path[64];
	char *p;
	int fd;

	snprintf(path, sizeof(path), "/devnx%s", strrchr(device_path(), '/'));
	fd = open(path, O_RDWR);
	watch();
	say("rx:%s", mapped(map(NULL, whole, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0)));
	p = map(NULL, whole, PROT_READ, MAP_SHARED, fd, 0);
	say(" r:%s", mapped(p));
	say(" mprotect(RX):%s", status(mprotect(p, whole, PROT_READ | PROT_EXEC)));
	say_smaps(p, (const char *const[]){ "VmFlags", NULL });
	say_ran("drv");
}

const struct row mode_rows[] = {
	ROW(mode_mprotect_rdonly_w),
	ROW(mode_mprotect_rdwr_w),
	ROW(mode_prot_none),
	ROW(mode_w_only_prot),
	ROW(mode_exec),
	ROW(mode_noexec_mount),
	{ },
};
