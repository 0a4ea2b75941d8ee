/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The control device of the reference devices, /dev/ref_ctl: what their driver has seen, and what
 * it shall do. Client and driver include this file; devices written in Python have it as control.py.
 *
 * Each reference device /dev/ref_NAME has REF_NPAGES pages of memory. Page N begins with "PAGEnn".
 */
#ifndef CONFORMANCE_CONTROL_H
#define CONFORMANCE_CONTROL_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define REF_NPAGES 16

/* The operations that the driver counts, in the order in which they are shown. */
enum ref_operation {
	REF_OPEN, REF_RELEASE, REF_MMAP,
	REF_VM_OPEN, REF_VM_CLOSE, REF_FAULT, REF_MKWRITE, REF_PFN_MKWRITE,
	REF_FSYNC, REF_MREMAP, REF_MAY_SPLIT, REF_MPROTECT, REF_ACCESS,
	REF_READ, REF_WRITE,
	REF_LLSEEK, REF_IOCTL, REF_FLUSH, REF_FASYNC, REF_SHOW, REF_STORE,
	REF_NR_OPERATIONS
};

/* What the mmap operation of the device "api" does, chosen by REF_RETURN. */
enum ref_api_use {
	REF_INSERT_TWICE = 1,		/* vm_insert_page: two pages at one address */
	REF_INSERT_AT_END,		/* vm_insert_page: at vm_end */
	REF_INSERT_SLAB,		/* vm_insert_page: memory from kmalloc */
	REF_REMAP_UNALIGNED,		/* remap_pfn_range: an address inside a page */
	REF_REMAP_100_BYTES,		/* remap_pfn_range: part of a page */
	REF_INSERT_TOO_MANY,		/* vm_insert_pages: one page more than the area has */
	REF_INSERT_TAIL,		/* vm_insert_page: a page without references of its own */
	REF_REMAP_PLAIN_VMALLOC,	/* remap_vmalloc_range: memory from vmalloc */
	REF_REMAP_NONCACHED,		/* remap_pfn_range: pgprot_noncached, on memory */
	REF_INSERT_ALL,			/* vm_insert_pages: all of the area */
	REF_REMAP_SLAB,			/* remap_pfn_range: memory from kmalloc */
};

struct ref_request {
	char device[24];			/* (in) NAME of /dev/ref_NAME */
	__u64 offset;				/* (in) PEEK, POKE: a byte of the device's memory */
	__s64 value;				/* (in) POKE, RETURN, MASK; (out) PEEK */
	__u64 pfn;				/* (out) PEEK: the frame that the byte is in */
	__u64 ran[REF_NR_OPERATIONS];		/* (out) GET: how often each operation ran */
	__u64 mmap_pgoff;			/* (out) GET: of the last mmap */
	__u64 fault_pgoff;			/* (out) GET: of the last fault */
	__u64 fault_address;
	__u64 fault_flags;
	__u64 open_flags;			/* (out) GET: f_flags, as the last open saw them */
	__u64 file_flags;			/* (out) GET: f_flags of the file opened last, as they are now */
	__u64 count;				/* (out) GET: bytes that the last read or write was asked for */
	__s64 pos;				/* (out) GET: where */
	__u64 command;				/* (out) GET: of the last ioctl */
	__u64 argument;
};

#define REF_GET		_IOWR('R', 1, struct ref_request)
#define REF_RESET	_IOWR('R', 2, struct ref_request)	/* counts, contents and RETURN */
#define REF_RETURN	_IOWR('R', 3, struct ref_request)	/* what operations return, -errno or code */
#define REF_ZAP		_IOWR('R', 4, struct ref_request)	/* unmap_mapping_range of everything */
#define REF_PEEK	_IOWR('R', 5, struct ref_request)
#define REF_POKE	_IOWR('R', 6, struct ref_request)
#define REF_MASK	_IOWR('R', 7, struct ref_request)	/* what poll answers; wakes who waits */
#define REF_UNIT	_IOWR('R', 8, struct ref_request)	/* "sensor": 1 its unit comes, 0 it goes */

#endif
