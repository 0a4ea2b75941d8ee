/* SPDX-License-Identifier: MIT */
/*
 * What rows are written with.
 *
 * A row is a function without arguments that uses the device `device` and says what it saw. Each
 * runs in a process of its own, with the device's memory and counters as new, so it may leave
 * anything behind. Unless a row is about errors of open, it takes for granted that open works.
 */
#ifndef CONFORMANCE_ROW_H
#define CONFORMANCE_ROW_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control.h"

#define PROT_RW (PROT_READ | PROT_WRITE)
#define NPAGES REF_NPAGES
#define KERNEL_ADDRESS ((char *)0xffff888000000000)	/* no process has that */

struct row {
	const char *name;
	void (*run)(void);
};

#define ROW(name) { #name, name }	/* a line of a table; the table ends with { } */

extern const struct row argument_rows[], placement_rows[], mode_rows[], private_rows[], data_rows[],
	signal_rows[], kernel_access_rows[], lock_rows[], advise_rows[], remap_rows[], unmap_rows[],
	process_rows[], fault_rows[], procfs_rows[], special_rows[], reading_rows[], writing_rows[],
	vector_rows[], seeking_rows[], opening_rows[], path_rows[], fcntl_rows[], ioctl_rows[],
	polling_rows[], epoll_rows[], aio_rows[], lifetime_rows[], by_address_rows[],
	kernel_write_rows[], read_only_rows[], shared_memory_rows[], attribute_rows[],
	unit_rows[], descriptor_rows[];

extern const char *device;	/* NAME of /dev/ref_NAME, or "memfd" */
extern size_t page;		/* bytes in a page */
extern size_t whole;		/* bytes in all pages of the device */

/* say.c: the observation, and results as words */
void say_into(char *buffer, size_t size);
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cannot(const char *what) __attribute__((noreturn));	/* this machine can't be asked that */
const char *error_name(int code);		/* "EINVAL" */
const char *status(long result);		/* of a call that gives 0 or -1: "0", "EINVAL" */
const char *exactly(long result, long wanted);	/* the same of one that gives a size */
const char *amount(long result);		/* of one that gives a number: "5", "EINVAL" */
const char *mapped(const void *address);	/* of mmap and mremap: "OK", "EINVAL" */

/* device.c: the device, its memory and its counters */
struct mapping {
	int fd;
	char *start;
};

int device_is_memfd(void);
void connect_to_device(const char *node);	/* NULL: of /dev/ref_ctl, or a memfd */
void reset_device(void);
const char *device_path(void);
int open_device(int flags);
void *map(void *address, size_t length, int prot, int flags, int fd, unsigned long offset);
struct mapping map_shared(size_t pages);	/* opened and mapped readable and writable, or exit */
void *reserve(size_t pages);			/* inaccessible private memory, of no device */
void *free_range(size_t pages);			/* addresses where nothing is mapped */
struct ref_request driver_state(void);
int is_released(void);			/* nobody has it open, as far as the driver can say */
void watch(void);				/* count operations from here on */
void say_ran(const char *tag);			/* "tag[mmap+1]": which ran since, and go on from here */
long tell_driver(unsigned int command, long value);
int driver_byte(size_t offset);			/* the driver's own view of its memory */
void set_driver_byte(size_t offset, int value);
int is_frame_of_device(unsigned long pfn);

/* files.c: what rows about files have in common */
int open_for_use(int flags);			/* open_device; "ready" is ready for both */
char *buffer(void);				/* as many bytes as the device has, zero */
char *edge(void);				/* an address with 64 bytes before it, and none behind */
int other_file(void);				/* a plain file of 64 KiB, opened for both */
char *text_of_flags(unsigned long flags);	/* "RDWR|APPEND", of O_ flags */
char *text_of_mask(unsigned int mask);		/* "IN|OUT", of POLL or EPOLL bits */
void set_mask(unsigned int mask);		/* what the driver's poll answers from now on */

/* touch.c: use memory; "ok", or the signal as in "SIGBUS/BUS_ADRERR" */
const char *load(const char *address);
const char *store(char *address, char value);
const char *call(char *address);
const char *page_name(const char *address);	/* what a page begins with: "PAGE03", "zero", a signal */

/* procfs.c: how the kernel describes a mapping */
int areas_in(const void *start, size_t length);
void say_maps(const void *address);		/* "rw-s off=00003000 dev=... ino=... path=..." */
void say_smaps(const void *address, const char *const *keys);	/* "KEY=value" of each; ends with NULL */
long locked_memory(void);			/* VmLck, in kB */

#endif
