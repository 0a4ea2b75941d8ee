/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT */
/*
 * mapdev: what a daemon and the module say to each other, on the control device /dev/mapdev.
 *
 * A daemon opens the control device, which begins a session, and says MAPDEV_IOC_INIT. It makes
 * character devices and buffers, then serves calls in a loop around MAPDEV_IOC_NEXT, which delivers
 * the reply to one request and waits for the next. A session ends when the daemon closes its last
 * descriptor of the control device or dies: its devices fail from then on, mappings stay until they
 * are unmapped.
 *
 * Numbers are native-endian. Lengths and addresses are bytes, pgoff and nr_pages are pages. Fields
 * called reserved have to be zero, as have flags that are not listed (EINVAL). Pointers are __u64.
 *
 * Requests are delivered in the order in which clients made them, notices included: once a process
 * has closed a file, whatever it does next comes after MAPDEV_RELEASE.
 */
#ifndef _UAPI_MAPDEV_H
#define _UAPI_MAPDEV_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define MAPDEV_ABI_MAJOR	1	/* another one can't work together */
#define MAPDEV_ABI_MINOR	4	/* a higher one has more features */
#define MAPDEV_ABI		(MAPDEV_ABI_MAJOR << 16 | MAPDEV_ABI_MINOR)

#define MAPDEV_NO_SLOT		0xffffffffU
#define MAPDEV_INLINE		256	/* bytes of payload in a request or a reply itself */
#define MAPDEV_NAME_MAX		128
#define MAPDEV_WORD_MAX		64	/* of a class, an attribute, ... with the 0 at its end */

/* ---- the session ---------------------------------------------------------------------------- */

/* Features: asked for, and what is granted of them. */
#define MAPDEV_FEATURE_CONTIG	(1ULL << 0)	/* buffers longer than the largest order */
#define MAPDEV_FEATURE_PHYS	(1ULL << 1)	/* MAPDEV_BUF_PHYS: CAP_SYS_RAWIO and the parameter */
#define MAPDEV_FEATURE_SHOW	(1ULL << 2)	/* MAPDEV_IOC_SHOW, MAPDEV_REPLY_SHOW */
#define MAPDEV_FEATURE_MODEL	(1ULL << 3)	/* classes, attributes, uevents: struct mapdev_model */

/**
 * struct mapdev_init - MAPDEV_IOC_INIT: begin a session
 *
 * Payload memory is mapped from the control device at payload_offset: nr_slots request slots,
 * nr_reply_slots reply slots, one command slot, all of slot_size bytes, in this order; slots are
 * numbered through. Behind them lies one page, an array of __u32: element N is not zero while the
 * client still copies from reply slot N (0 is the first reply slot). A request's slot is the
 * request's until the daemon has replied to it, by whatever kind of reply, or has fetched its
 * MAPDEV_GONE. The command slot is read and written by MAPDEV_IOC_NEXT only: a daemon with threads
 * lets one of them at a time use it, from writing it to the reply, and from a RESULT until it has
 * read that.
 */
struct mapdev_init {
	/** @size: of this struct */
	__u32 size;
	/** @abi: in: the daemon's; out: the module's */
	__u32 abi;
	/** @features: in: wanted; out: granted */
	__u64 features;
	/**
	 * @timeout_ms: in: 0 for the default, 0xffffffff for none; out: what a client waits for an
	 * answer
	 */
	__u32 timeout_ms;
	/** @slot_size: out */
	__u32 slot_size;
	/** @nr_slots: out */
	__u32 nr_slots;
	/** @nr_reply_slots: out */
	__u32 nr_reply_slots;
	/** @payload_offset: out: for mmap */
	__u64 payload_offset;
	/** @payload_size: out: slots and the page behind them */
	__u64 payload_size;
	/** @max_pages: out: buffers of all sessions of the user may have that many */
	__u64 max_pages;
	/** @reserved: 0 */
	__u64 reserved[4];
};

/* ---- devices -------------------------------------------------------------------------------- */

/* The operations that a device has: for the others the kernel does what it does without them. */
#define MAPDEV_HAS_READ		(1U << 0)
#define MAPDEV_HAS_WRITE	(1U << 1)
#define MAPDEV_HAS_LLSEEK	(1U << 2)
#define MAPDEV_HAS_IOCTL	(1U << 3)
#define MAPDEV_HAS_POLL		(1U << 4)
#define MAPDEV_HAS_MMAP		(1U << 5)
#define MAPDEV_HAS_FSYNC	(1U << 6)
#define MAPDEV_HAS_FLUSH	(1U << 7)
#define MAPDEV_HAS_FASYNC	(1U << 8)

#define MAPDEV_CREATE_ANON	(1U << 0)	/* no node: for MAPDEV_INSTALL only */
#define MAPDEV_CREATE_NO_NUMBER	(1U << 1)	/* in the device model only: no number, no node */

/**
 * struct mapdev_create - MAPDEV_IOC_CREATE: make a device
 */
struct mapdev_create {
	/** @flags: MAPDEV_CREATE_ */
	__u32 flags;
	/** @has: MAPDEV_HAS_ */
	__u32 has;
	/** @mode: of the node, permissions only */
	__u32 mode;
	/** @uid: owner of the node */
	__u32 uid;
	/** @gid: group of the node */
	__u32 gid;
	/** @major: in: 0 for any; out. A number in use: EBUSY */
	__u32 major;
	/** @minor: in, if major is given; out */
	__u32 minor;
	/** @id: out */
	__u32 id;
	/** @name: of the node below /dev, may have slashes. In use: EEXIST */
	char name[MAPDEV_NAME_MAX];
	/** @model: pointer to struct mapdev_model: its place in /sys; 0: in the class mapdev */
	__u64 model;
	/** @reserved: 0 */
	__u64 reserved;
};

/**
 * struct mapdev_destroy - MAPDEV_IOC_DESTROY: end a device
 *
 * Ends a device: new opens fail with ENODEV, as do calls on open files, and those on attributes.
 * EBUSY: it is the parent of others, MAPDEV_IOC_FORGET: devices or drivers belong to it.
 */
struct mapdev_destroy {
	/** @id: of MAPDEV_IOC_CREATE, or of MAPDEV_IOC_OBJECT */
	__u32 id;
	/** @reserved: 0 */
	__u32 reserved;
};

/* ---- the device model: what /sys shows ------------------------------------------------------ */

/**
 * enum mapdev_object_kind - what devices belong to
 */
enum mapdev_object_kind {
	/** @MAPDEV_OBJECT_CLASS: class_register: a directory in /sys/class */
	MAPDEV_OBJECT_CLASS = 0,
	/** @MAPDEV_OBJECT_BUS: bus_register: a directory in /sys/bus */
	MAPDEV_OBJECT_BUS = 1,
	/** @MAPDEV_OBJECT_DRIVER: driver_register, of a bus of the session or of the platform bus */
	MAPDEV_OBJECT_DRIVER = 2,
};

/**
 * struct mapdev_object - MAPDEV_IOC_OBJECT: a class, a bus, a driver of a bus
 *
 * Sessions share what has the same name. EEXIST: the kernel, or another module, has that name.
 * MAPDEV_IOC_FORGET gives it back.
 */
struct mapdev_object {
	/** @kind: enum mapdev_object_kind */
	__u32 kind;
	/** @bus: of a driver: id of the bus; 0: the platform bus */
	__u32 bus;
	/** @id: out */
	__u32 id;
	/** @reserved: 0 */
	__u32 reserved;
	/** @name: printable, without slash and exclamation mark */
	char name[MAPDEV_WORD_MAX];
};

#define MAPDEV_ATTR_BINARY	(1U << 0)	/* bin_attribute: MAPDEV_BIN_READ, MAPDEV_BIN_WRITE */
#define MAPDEV_ATTR_READ	(1U << 1)	/* it has a show, or a read, function */
#define MAPDEV_ATTR_WRITE	(1U << 2)	/* it has a store, or a write, function */

/**
 * struct mapdev_attribute - a file of a device in /sys
 */
struct mapdev_attribute {
	/** @tag: what MAPDEV_ATTR_SHOW and others say of it; the daemon's to choose */
	__u64 tag;
	/** @size: with MAPDEV_ATTR_BINARY: of the file; 0: it has no end */
	__u64 size;
	/** @mode: permissions */
	__u32 mode;
	/** @flags: MAPDEV_ATTR_ */
	__u32 flags;
	/** @name: of the file */
	char name[MAPDEV_WORD_MAX];
	/** @group: directory below the device's in which it is; empty: none */
	char group[MAPDEV_WORD_MAX];
};

#define MAPDEV_MODEL_PLATFORM	(1U << 0)	/* on the platform bus: driver is needed, no number */
#define MAPDEV_MODEL_ANY_MODE	(1U << 1)	/* the node has the usual mode, which uevents don't tell */
#define MAPDEV_ATTRS_MAX	128		/* attributes that a device may have */
#define MAPDEV_ENV_MAX		2048		/* bytes of a uevent's variables */

/**
 * struct mapdev_model - a device's place in the device model
 *
 * The device gets a directory in that of its parent, with its attributes, before "add" is told. A
 * device that belongs to a class or a bus has uevents. EEXIST: the directory has that name. EINVAL:
 * a name is none, or a variable is the kernel's own.
 */
struct mapdev_model {
	/** @flags: MAPDEV_MODEL_ */
	__u32 flags;
	/** @class_id: id of MAPDEV_IOC_OBJECT; 0: none */
	__u32 class_id;
	/** @bus: the same */
	__u32 bus;
	/** @driver: the same: what it is bound to */
	__u32 driver;
	/** @parent: id of a device of this session; 0: none */
	__u32 parent;
	/** @nr_attrs: how many attributes */
	__u32 nr_attrs;
	/** @env_len: bytes of variables */
	__u32 env_len;
	/** @reserved: 0 */
	__u32 reserved;
	/** @attrs: pointer to nr_attrs struct mapdev_attribute */
	__u64 attrs;
	/** @env: pointer to strings NAME=value, each ended by 0: more variables of uevents */
	__u64 env;
	/** @name: of its directory, in which '/' is '!' */
	char name[MAPDEV_NAME_MAX];
	/** @type: DEVTYPE; empty: none */
	char type[MAPDEV_WORD_MAX];
	/** @region: what /proc/devices says, if a number was wished for; empty: mapdev */
	char region[MAPDEV_WORD_MAX];
};

/**
 * enum mapdev_attr_change_kind - what happens to an attribute
 */
enum mapdev_attr_change_kind {
	/** @MAPDEV_ATTR_ADD: sysfs_create_file; with a group: EOPNOTSUPP */
	MAPDEV_ATTR_ADD = 0,
	/** @MAPDEV_ATTR_REMOVE: sysfs_remove_file, by tag; ENOENT */
	MAPDEV_ATTR_REMOVE = 1,
	/** @MAPDEV_ATTR_NOTIFY: sysfs_notify, by tag; ENOENT */
	MAPDEV_ATTR_NOTIFY = 2,
};

/**
 * struct mapdev_attr_change - MAPDEV_IOC_ATTR: of a device that is there
 */
struct mapdev_attr_change {
	/** @device: its id */
	__u32 device;
	/** @kind: enum mapdev_attr_change_kind */
	__u32 kind;
	/** @attr: all of it, or its tag */
	struct mapdev_attribute attr;
};

/**
 * struct mapdev_uevent - MAPDEV_IOC_UEVENT: tell of a device
 */
struct mapdev_uevent {
	/** @device: its id */
	__u32 device;
	/** @action: enum kobject_action: 2 change, ... */
	__u32 action;
	/** @env_len: bytes of variables of the device, from now on */
	__u32 env_len;
	/** @extra_len: bytes of variables of this event alone */
	__u32 extra_len;
	/** @env: pointer, as in struct mapdev_model */
	__u64 env;
	/** @extra: the same */
	__u64 extra;
};

/*
 * Readiness in EPOLL bits: EPOLLIN to EPOLLMSG, and EPOLLRDHUP. What poll says and what wakes it
 * has no others; the kernel uses them for itself (POLLFREE takes an epoll off the file for ever),
 * so they are ignored.
 */
#define MAPDEV_POLL_EVENTS	0x27ffU

/**
 * struct mapdev_wake - MAPDEV_IOC_WAKE: wake who waits in poll
 *
 * wake_up_poll() for what waits in poll, select or epoll on a file, or on each file of a device if
 * file is 0. Each MAPDEV_IOC_WAKE is one event for an edge-triggered epoll; it wakes those that
 * wait for a bit of mask, all if mask has none, and of those with EPOLLEXCLUSIVE one (a file).
 * ENOENT.
 */
struct mapdev_wake {
	/** @file: its number; 0: each of the device */
	__u64 file;
	/** @device: its number, if file is 0 */
	__u32 device;
	/** @mask: EPOLL bits that have become true; 0: any, as wake_up() */
	__u32 mask;
};

/*
 * The readiness of a file, kept by the module, so that poll need not ask the daemon. A file is
 * asked for (MAPDEV_POLL) until the daemon has shown what poll says: by MAPDEV_IOC_SHOW with
 * MAPDEV_SHOW_KEEP, or by a reply to any call on it, MAPDEV_OPEN included, with MAPDEV_REPLY_SHOW.
 * From then on poll says that, and there is no MAPDEV_POLL for this file. MAPDEV_IOC_SHOW without
 * MAPDEV_SHOW_KEEP has poll ask again.
 *
 * The order that loses nothing is the kernel's own: the new state first, then the wake-up. One
 * MAPDEV_IOC_SHOW with MAPDEV_SHOW_WAKE does it in that order. What a reply shows holds before the
 * client's call returns. The daemon shows a change that nobody need be woken for, too: a file that
 * has nothing to read any more.
 *
 * ENOENT: no such file. EINVAL: other flags. Of a device that is gone poll says EPOLLERR |
 * EPOLLHUP whatever was shown.
 */
#define MAPDEV_SHOW_KEEP	(1U << 0)	/* poll says mask from now on; without: it asks */
#define MAPDEV_SHOW_WAKE	(1U << 1)	/* then wake_up_poll(woken), as MAPDEV_IOC_WAKE does */

/**
 * struct mapdev_show - MAPDEV_IOC_SHOW: what poll says of a file
 */
struct mapdev_show {
	/** @file: its number */
	__u64 file;
	/** @flags: MAPDEV_SHOW_ */
	__u32 flags;
	/** @mask: EPOLL bits that are true */
	__u32 mask;
	/** @woken: EPOLL bits that have become true; 0: any, as wake_up() */
	__u32 woken;
	/** @reserved: 0 */
	__u32 reserved;
};

/**
 * struct mapdev_signal - MAPDEV_IOC_SIGNAL: kill_fasync() on a file
 *
 * ENOENT: no such file. EINVAL: another signal or band.
 */
struct mapdev_signal {
	/** @file: its number */
	__u64 file;
	/** @sig: SIGIO or SIGURG */
	__u32 sig;
	/** @band: POLL_IN to POLL_HUP */
	__u32 band;
};

/**
 * struct mapdev_unmap - MAPDEV_IOC_UNMAP: take pages out of all areas of a device
 *
 * unmap_mapping_range on all that maps a device; of one that was destroyed, too, while it is open.
 */
struct mapdev_unmap {
	/** @device: its number */
	__u32 device;
	/** @even_cows: 1: private copies, too */
	__u32 even_cows;
	/** @start: in the file */
	__u64 start;
	/** @len: 0: to the end */
	__u64 len;
};

/* ---- buffers -------------------------------------------------------------------------------- */

/**
 * enum mapdev_buffer_kind - what a buffer is made of
 */
enum mapdev_buffer_kind {
	/** @MAPDEV_BUF_PAGES: alloc_pages(order) */
	MAPDEV_BUF_PAGES = 0,
	/** @MAPDEV_BUF_CONTIG: any number of pages in a row */
	MAPDEV_BUF_CONTIG = 1,
	/** @MAPDEV_BUF_VMALLOC: vmalloc_user */
	MAPDEV_BUF_VMALLOC = 2,
	/** @MAPDEV_BUF_PHYS: a range of physical addresses: registers, reserved memory */
	MAPDEV_BUF_PHYS = 3,
};

/**
 * enum mapdev_cache - how pages are cached
 *
 * For MAPDEV_BUF_PHYS only: RAM is cached however it is asked for. Outside x86 registers are never
 * cached: MAPDEV_CACHED is MAPDEV_UNCACHED there.
 */
enum mapdev_cache {
	/** @MAPDEV_CACHED: as memory */
	MAPDEV_CACHED = 0,
	/** @MAPDEV_UNCACHED: pgprot_noncached */
	MAPDEV_UNCACHED = 1,
	/** @MAPDEV_WRITECOMBINE: pgprot_writecombine */
	MAPDEV_WRITECOMBINE = 2,
};

#define MAPDEV_ALLOC_COMP	(1U << 0)	/* MAPDEV_BUF_PAGES: a compound page, __GFP_COMP */
#define MAPDEV_ALLOC_ATOMIC	(1U << 1)	/* don't reclaim, fail sooner */

/**
 * struct mapdev_alloc - MAPDEV_IOC_ALLOC: make a buffer
 *
 * Memory is always zeroed. The daemon maps a buffer from the control device at mmap_offset. It
 * lives until it was freed and nobody maps it. ENOMEM; EDQUOT: max_pages of the user.
 */
struct mapdev_alloc {
	/** @kind: enum mapdev_buffer_kind */
	__u32 kind;
	/** @flags: MAPDEV_ALLOC_ */
	__u32 flags;
	/** @nr_pages: PAGES: a power of two */
	__u64 nr_pages;
	/** @phys: PHYS: the address, page-aligned */
	__u64 phys;
	/** @cache: how the daemon's own mapping is cached */
	__u32 cache;
	/** @id: out */
	__u32 id;
	/** @pfn: out: of the first page */
	__u64 pfn;
	/** @address: out: kernel address: page_address(), or what vmalloc gave; PHYS: 0 */
	__u64 address;
	/** @mmap_offset: out */
	__u64 mmap_offset;
	/** @reserved: 0 */
	__u64 reserved[2];
};

/**
 * struct mapdev_free - MAPDEV_IOC_FREE: give a buffer up
 */
struct mapdev_free {
	/** @id: of MAPDEV_IOC_ALLOC */
	__u32 id;
	/** @reserved: 0 */
	__u32 reserved;
};

/**
 * struct mapdev_pfns - MAPDEV_IOC_PFNS: frames of a buffer
 *
 * The frame numbers of a buffer: vmalloc_to_pfn() for each page.
 */
struct mapdev_pfns {
	/** @id: of MAPDEV_IOC_ALLOC */
	__u32 id;
	/** @reserved: 0 */
	__u32 reserved;
	/** @pgoff: the first page */
	__u64 pgoff;
	/** @count: how many */
	__u64 count;
	/** @pfns: pointer to count __u64 */
	__u64 pfns;
};

/* What struct page says: a snapshot. */
#define MAPDEV_PAGE_RESERVED	(1U << 0)
#define MAPDEV_PAGE_HEAD	(1U << 1)
#define MAPDEV_PAGE_TAIL	(1U << 2)
#define MAPDEV_PAGE_SLAB	(1U << 3)
#define MAPDEV_PAGE_BUDDY	(1U << 4)
#define MAPDEV_PAGE_BUFFER	(1U << 5)	/* it is in a buffer of this session */

/**
 * struct mapdev_page - MAPDEV_IOC_PAGE: what struct page says
 */
struct mapdev_page {
	/** @pfn: in. None of the machine's: EINVAL */
	__u64 pfn;
	/** @flags: out: MAPDEV_PAGE_ */
	__u32 flags;
	/** @order: out: of the compound page, or of the block if it is free */
	__u32 order;
	/** @refcount: out */
	__s32 refcount;
	/** @mapcount: out */
	__s32 mapcount;
	/** @head: out: pfn of the compound page's first page */
	__u64 head;
	/** @address: out: page_address(), 0 if it has none */
	__u64 address;
	/** @raw_flags: out: page->flags, as this kernel has them */
	__u64 raw_flags;
	/** @buffer: out: with MAPDEV_PAGE_BUFFER */
	__u32 buffer;
	/** @reserved: 0 */
	__u32 reserved;
	/** @nr_frames: out: the number behind the machine's last frame */
	__u64 nr_frames;
};

/* ---- requests ------------------------------------------------------------------------------- */

/**
 * enum mapdev_op - what a request is
 */
enum mapdev_op {
	/** @MAPDEV_NONE: nothing came: a timeout, a kick, or MAPDEV_NEXT_NOWAIT */
	MAPDEV_NONE = 0,

	/* Calls: have to be replied to. What arg[] holds stands behind them. */
	/** @MAPDEV_OPEN: 0: FMODE_ bits 1 read, 2 write */
	MAPDEV_OPEN = 1,
	/** @MAPDEV_READ: 0: count, 1: position, 2: address of the client's buffer */
	MAPDEV_READ = 2,
	/**
	 * @MAPDEV_WRITE: 0: count, 1: position, 2: address; payload: the data, if count fits a
	 * slot and all of it can be read, else none
	 */
	MAPDEV_WRITE = 3,
	/** @MAPDEV_LLSEEK: 0: offset (signed), 1: whence, 2: f_pos */
	MAPDEV_LLSEEK = 4,
	/** @MAPDEV_IOCTL: 0: cmd, 1: arg; payload: what arg points to, see MAPDEV_ARG_ */
	MAPDEV_IOCTL = 5,
	/** @MAPDEV_POLL: 0: events asked for; not of files whose readiness is shown */
	MAPDEV_POLL = 6,
	/** @MAPDEV_FSYNC: 0: start, 1: end, 2: datasync */
	MAPDEV_FSYNC = 7,
	/** @MAPDEV_MMAP: vma; 0: mm->map_count, 1: mm->total_vm; area: the new one */
	MAPDEV_MMAP = 8,
	/** @MAPDEV_FLUSH: a descriptor is closed: result is that of the close */
	MAPDEV_FLUSH = 9,
	/**
	 * @MAPDEV_FASYNC: 0: descriptor (signed), 1: O_ASYNC is to be set (or not: 0), see
	 * MAPDEV_REPLY_ASYNC. With -1 the last user of the file is gone: what comes of it does not
	 * matter
	 */
	MAPDEV_FASYNC = 10,

	/* Calls about an area: vma and area are set. */
	/** @MAPDEV_FAULT: 0: address, 1: MAPDEV_FAULT_, 2: pgoff, 3, 4: the range around it */
	MAPDEV_FAULT = 16,
	/** @MAPDEV_PAGE_MKWRITE: 0: address, 1: MAPDEV_FAULT_, 2: pgoff, 3: pfn */
	MAPDEV_PAGE_MKWRITE = 17,
	/** @MAPDEV_PFN_MKWRITE: the same */
	MAPDEV_PFN_MKWRITE = 18,
	/** @MAPDEV_MAY_SPLIT: 0: address */
	MAPDEV_MAY_SPLIT = 19,
	/** @MAPDEV_MREMAP: vma: the new place */
	MAPDEV_MREMAP = 20,
	/** @MAPDEV_MPROTECT: 0: start, 1: end, 2: new vm_flags */
	MAPDEV_MPROTECT = 21,
	/**
	 * @MAPDEV_ACCESS: 0: address, 1: bytes, 2: 1 to write the payload there, else payload of
	 * the reply is what is there; result: how many bytes
	 */
	MAPDEV_ACCESS = 22,

	/* Calls about an attribute, of no file. May not be commanded. */
	/** @MAPDEV_ATTR_SHOW: 0: tag; payload of the reply is the text, less than a page */
	MAPDEV_ATTR_SHOW = 24,
	/** @MAPDEV_ATTR_STORE: 0: tag, 1: bytes; payload: what was written */
	MAPDEV_ATTR_STORE = 25,
	/** @MAPDEV_BIN_READ: 0: tag, 1: bytes, 2: position; payload of the reply: what is there */
	MAPDEV_BIN_READ = 26,
	/** @MAPDEV_BIN_WRITE: 0: tag, 1: bytes, 2: position; payload: what was written */
	MAPDEV_BIN_WRITE = 27,

	/* Notices: nobody waits for a reply. */
	/** @MAPDEV_RELEASE: the last user of the file is gone */
	MAPDEV_RELEASE = 32,
	/**
	 * @MAPDEV_VMA_OPEN: area: a copy by split, fork or mremap; 0: area that it is a copy of,
	 * 1: 1 if it is in another mm (fork)
	 */
	MAPDEV_VMA_OPEN = 33,
	/** @MAPDEV_VMA_CLOSE: area is gone; vma: what it was */
	MAPDEV_VMA_CLOSE = 34,
	/**
	 * @MAPDEV_VMA_ABORT: the mmap that would have made area failed after it was replied to; 0:
	 * errno
	 */
	MAPDEV_VMA_ABORT = 35,
	/** @MAPDEV_INTERRUPT: 0: id of a request that said MAPDEV_REPLY_WAIT: a signal came */
	MAPDEV_INTERRUPT = 36,
	/**
	 * @MAPDEV_GONE: 0: id of a request: its client was killed, or waited too long. What an
	 * OPEN or MMAP would have made is no more: no RELEASE or VMA_CLOSE comes of it; file and
	 * area are the request's
	 */
	MAPDEV_GONE = 37,

	/** @MAPDEV_RESULT: what a command came to: 0: result; payload; id is the request's */
	MAPDEV_RESULT = 48,
};

/* mapdev_request.flags */
#define MAPDEV_COMPAT		(1U << 0)	/* IOCTL: of a 32-bit program */
#define MAPDEV_ARG_COPIED	(1U << 1)	/* IOCTL: payload holds _IOC_SIZE bytes from arg */
#define MAPDEV_ARG_WRITABLE	(1U << 2)	/* IOCTL: _IOC_SIZE bytes at arg could be written */

/* arg[1] of MAPDEV_FAULT: include/linux/mm_types.h */
#define MAPDEV_FAULT_WRITE		(1U << 0)
#define MAPDEV_FAULT_MKWRITE		(1U << 1)
#define MAPDEV_FAULT_ALLOW_RETRY	(1U << 2)
#define MAPDEV_FAULT_KILLABLE		(1U << 4)
#define MAPDEV_FAULT_TRIED		(1U << 5)
#define MAPDEV_FAULT_USER		(1U << 6)
#define MAPDEV_FAULT_REMOTE		(1U << 7)
#define MAPDEV_FAULT_INSTRUCTION	(1U << 8)
#define MAPDEV_FAULT_INTERRUPTIBLE	(1U << 9)
#define MAPDEV_FAULT_UNSHARE		(1U << 10)
#define MAPDEV_FAULT_ORIG_PTE_VALID	(1U << 11)

/* vm_flags, as they cross the boundary, whatever bits this kernel has for them. */
#define MAPDEV_VM_READ		0x00000001ULL
#define MAPDEV_VM_WRITE		0x00000002ULL
#define MAPDEV_VM_EXEC		0x00000004ULL
#define MAPDEV_VM_SHARED	0x00000008ULL
#define MAPDEV_VM_MAYREAD	0x00000010ULL
#define MAPDEV_VM_MAYWRITE	0x00000020ULL
#define MAPDEV_VM_MAYEXEC	0x00000040ULL
#define MAPDEV_VM_MAYSHARE	0x00000080ULL
#define MAPDEV_VM_GROWSDOWN	0x00000100ULL
#define MAPDEV_VM_PFNMAP	0x00000400ULL
#define MAPDEV_VM_LOCKED	0x00002000ULL
#define MAPDEV_VM_IO		0x00004000ULL
#define MAPDEV_VM_DONTCOPY	0x00020000ULL
#define MAPDEV_VM_DONTEXPAND	0x00040000ULL
#define MAPDEV_VM_ACCOUNT	0x00100000ULL
#define MAPDEV_VM_NORESERVE	0x00200000ULL
#define MAPDEV_VM_HUGETLB	0x00400000ULL
#define MAPDEV_VM_DONTDUMP	0x04000000ULL
#define MAPDEV_VM_MIXEDMAP	0x10000000ULL

/**
 * struct mapdev_vma - what an area is
 */
struct mapdev_vma {
	/** @vm_start: first address */
	__u64 vm_start;
	/** @vm_end: the address behind the last */
	__u64 vm_end;
	/** @vm_pgoff: page of the file at vm_start */
	__u64 vm_pgoff;
	/** @vm_flags: MAPDEV_VM_ */
	__u64 vm_flags;
};

/**
 * struct mapdev_request - what MAPDEV_IOC_NEXT delivers
 */
struct mapdev_request {
	/** @id: never 0, never used again; notices have none */
	__u64 id;
	/** @op: enum mapdev_op */
	__u32 op;
	/** @flags: MAPDEV_COMPAT, MAPDEV_ARG_ */
	__u32 flags;
	/** @device: its number */
	__u32 device;
	/** @pid: of the thread, as the daemon's namespace numbers it */
	__u32 pid;
	/** @tgid: of its process */
	__u32 tgid;
	/** @f_flags: of the file, O_ */
	__u32 f_flags;
	/** @file: one for each open; 0: none */
	__u64 file;
	/** @area: one for each VMA of a device; 0: none */
	__u64 area;
	/** @vma: of the area, in calls and notices about one */
	struct mapdev_vma vma;
	/** @arg: see enum mapdev_op */
	__u64 arg[6];
	/** @len: bytes of payload */
	__u32 len;
	/** @slot: where it is; MAPDEV_NO_SLOT: in data */
	__u32 slot;
	/** @data: payload, if slot is MAPDEV_NO_SLOT */
	__u8 data[MAPDEV_INLINE];
};

/* ---- replies -------------------------------------------------------------------------------- */

/**
 * enum mapdev_reply_kind - what a reply is
 */
enum mapdev_reply_kind {
	/** @MAPDEV_REPLY_DONE: the call's result */
	MAPDEV_REPLY_DONE = 0,
	/**
	 * @MAPDEV_REPLY_WAIT: it waits: the daemon keeps it, a signal makes MAPDEV_INTERRUPT.
	 * EOPNOTSUPP: a call that can't wait for long (POLL); its time limit goes on, it has still
	 * to be replied to
	 */
	MAPDEV_REPLY_WAIT = 1,

	/*
	 * Commands: the waiting client does something for the daemon, MAPDEV_RESULT says what came of it.
	 * One at a time for a request (EBUSY). The client's memory may be such that somebody else has to
	 * bring it in, or does not: after the session's time limit, or the module's if that is less,
	 * the RESULT is ETIMEDOUT. The daemon may reply to the request sooner, which gives the command up:
	 * there will be no RESULT.
	 */
	/** @MAPDEV_COPY_FROM: len bytes at addr into the command slot; result: how many */
	MAPDEV_COPY_FROM = 8,
	/** @MAPDEV_COPY_TO: len bytes of the command slot to addr; result: how many */
	MAPDEV_COPY_TO = 9,
	/**
	 * @MAPDEV_AREAS: struct mapdev_area_info in the command slot, from address addr on;
	 * result: how many, and arg[1], [2] map_count, total_vm
	 */
	MAPDEV_AREAS = 10,
	/**
	 * @MAPDEV_INSTALL: a descriptor of anonymous device len, flags in addr, its name in the
	 * command slot; result: the number, arg[1]: file
	 */
	MAPDEV_INSTALL = 11,
};

/**
 * struct mapdev_area_info - one area of a client
 *
 * Behind the areas' array, at name (from the slot's beginning), are their paths, ended by 0.
 */
struct mapdev_area_info {
	/** @vma: the area */
	struct mapdev_vma vma;
	/** @area: 0: of none of this session's devices */
	__u64 area;
	/** @file: its file, if area is not 0 */
	__u64 file;
	/** @ino: inode number of its file; 0: none */
	__u64 ino;
	/** @dev: as new_encode_dev() makes it */
	__u32 dev;
	/** @name: 0: none */
	__u32 name;
};

/* mapdev_reply.flags */
#define MAPDEV_REPLY_POS	(1U << 0)	/* READ, WRITE, LLSEEK: pos is the new f_pos */
#define MAPDEV_REPLY_NONSEEKABLE (1U << 1)	/* OPEN: nonseekable_open() */
#define MAPDEV_REPLY_STREAM	(1U << 2)	/* OPEN: stream_open() */
#define MAPDEV_REPLY_SHOW	(1U << 3)	/* DONE: mask is what poll says of the call's file from now on,
						 * see MAPDEV_IOC_SHOW */
#define MAPDEV_REPLY_ASYNC	(1U << 4)	/* FASYNC: fasync_helper(), so that MAPDEV_IOC_SIGNAL
						 * reaches the file's owner, or not any more */

/**
 * struct mapdev_reply - the answer to a request, or a command
 */
struct mapdev_reply {
	/** @id: 0: replies to nothing; out: 0, so that NEXT may be said again after EINTR */
	__u64 id;
	/** @kind: enum mapdev_reply_kind */
	__u32 kind;
	/** @flags: MAPDEV_REPLY_ */
	__u32 flags;
	/** @result: of the operation, or -errno (-512, ERESTARTSYS, after INTERRUPT) */
	__s64 result;
	/** @addr: IOCTL: where the payload goes; commands: see there */
	__u64 addr;
	/** @pos: with MAPDEV_REPLY_POS */
	__u64 pos;
	/** @len: READ: result is len if that is the payload's */
	__u32 len;
	/** @slot: a reply slot, the command slot, or MAPDEV_NO_SLOT: in data */
	__u32 slot;
	/**
	 * @error: out: 0; ENOENT: nobody waits for id; EINVAL: it made no sense and the client got
	 * EIO; EBUSY: the RESULT of another command of this request was not fetched; ENOMEM
	 */
	__s32 error;
	/** @mask: with MAPDEV_REPLY_SHOW, else 0 */
	__u32 mask;
	/** @data: payload, if slot is MAPDEV_NO_SLOT */
	__u8 data[MAPDEV_INLINE];
};

/*
 * The payload of the reply to MAPDEV_MMAP: one mapdev_mmap, then its mappings, by ascending
 * address. If it has neither mappings nor vm_ops, it is as if a driver's mmap did nothing: no
 * area. To MAPDEV_FAULT: mappings only; the one at the address of the fault need not come first.
 * result is a VM_FAULT_ code: 0 with a mapping at that address, VM_FAULT_NOPAGE with none if it is
 * to be tried again.
 */
#define MAPDEV_VMOP_FAULT	(1U << 0)
#define MAPDEV_VMOP_PAGE_MKWRITE (1U << 1)
#define MAPDEV_VMOP_PFN_MKWRITE	(1U << 2)
#define MAPDEV_VMOP_MAY_SPLIT	(1U << 3)
#define MAPDEV_VMOP_MREMAP	(1U << 4)
#define MAPDEV_VMOP_MPROTECT	(1U << 5)
#define MAPDEV_VMOP_NOTICES	(1U << 6)	/* MAPDEV_VMA_OPEN, _CLOSE; else the area is silent */
#define MAPDEV_VMOP_AROUND	(1U << 7)	/* replies to FAULT may have neighbours' pages */
#define MAPDEV_VMOP_ACCESS	(1U << 8)

/**
 * struct mapdev_mmap - payload of the reply to MAPDEV_MMAP
 */
struct mapdev_mmap {
	/** @set_flags: MAPDEV_VM_: IO, DONTCOPY, DONTEXPAND, DONTDUMP, PFNMAP, MIXEDMAP */
	__u64 set_flags;
	/** @clear_flags: MAPDEV_VM_MAY...; EACCES if what one allows is in use */
	__u64 clear_flags;
	/** @vm_ops: MAPDEV_VMOP_ */
	__u32 vm_ops;
	/** @cache: enum mapdev_cache: vm_page_prot, for what comes by fault */
	__u32 cache;
	/** @nr_mappings: how many struct mapdev_mapping follow */
	__u32 nr_mappings;
	/** @reserved: 0 */
	__u32 reserved;
};

/**
 * enum mapdev_mapping_kind - how pages are mapped
 */
enum mapdev_mapping_kind {
	/** @MAPDEV_MAP_PFN: remap_pfn_range, vmf_insert_pfn: one call for pages in a row */
	MAPDEV_MAP_PFN = 0,
	/** @MAPDEV_MAP_PAGE: vm_insert_pages; FAULT: vmf->page */
	MAPDEV_MAP_PAGE = 1,
};

/**
 * struct mapdev_mapping - pages of a buffer, in an area
 */
struct mapdev_mapping {
	/** @addr: where, in the client */
	__u64 addr;
	/** @pgoff: in the buffer */
	__u64 pgoff;
	/** @nr_pages: how many */
	__u64 nr_pages;
	/** @buffer: of MAPDEV_IOC_ALLOC */
	__u32 buffer;
	/** @kind: enum mapdev_mapping_kind */
	__u16 kind;
	/** @cache: enum mapdev_cache */
	__u16 cache;
};

/* ---- the loop ------------------------------------------------------------------------------- */

#define MAPDEV_NEXT_NOWAIT	(1U << 0)	/* don't wait for a request */
#define MAPDEV_NEXT_URGENT	(1U << 1)	/* only what a client's mm waits for (MMAP to ACCESS, the
						 * notices VMA_), and the RESULT of only;
						 * MAPDEV_NONE at once if that has none to come */
#define MAPDEV_NEXT_REPLY	(1U << 2)	/* fetch nothing, reply only */

/**
 * struct mapdev_next - MAPDEV_IOC_NEXT: reply, and fetch
 */
struct mapdev_next {
	/** @flags: MAPDEV_NEXT_ */
	__u32 flags;
	/** @timeout_ms: -1: none */
	__s32 timeout_ms;
	/** @only: with MAPDEV_NEXT_URGENT: the request whose RESULT is awaited; else 0 */
	__u64 only;
	/** @reply: to one request; its id is 0: none */
	struct mapdev_reply reply;
	/** @request: out */
	struct mapdev_request request;
};

/**
 * struct mapdev_alive - MAPDEV_IOC_ALIVE: does anybody wait?
 */
struct mapdev_alive {
	/** @id: of a request */
	__u64 id;
};

#define MAPDEV_IOC_INIT		_IOWR('m', 0x80, struct mapdev_init)
#define MAPDEV_IOC_NEXT		_IOWR('m', 0x81, struct mapdev_next)
#define MAPDEV_IOC_CREATE	_IOWR('m', 0x82, struct mapdev_create)
#define MAPDEV_IOC_DESTROY	_IOW('m', 0x83, struct mapdev_destroy)
#define MAPDEV_IOC_ALLOC	_IOWR('m', 0x84, struct mapdev_alloc)
#define MAPDEV_IOC_FREE		_IOW('m', 0x85, struct mapdev_free)
#define MAPDEV_IOC_PFNS		_IOW('m', 0x86, struct mapdev_pfns)
#define MAPDEV_IOC_PAGE		_IOWR('m', 0x87, struct mapdev_page)
#define MAPDEV_IOC_WAKE		_IOW('m', 0x88, struct mapdev_wake)
#define MAPDEV_IOC_UNMAP	_IOW('m', 0x89, struct mapdev_unmap)
#define MAPDEV_IOC_ALIVE	_IOW('m', 0x8a, struct mapdev_alive)	/* ENOENT: nobody waits for id */
#define MAPDEV_IOC_KICK		_IO('m', 0x8b)	/* make MAPDEV_IOC_NEXT return, now or the next time */
#define MAPDEV_IOC_SHOW		_IOW('m', 0x8c, struct mapdev_show)
#define MAPDEV_IOC_OBJECT	_IOWR('m', 0x8d, struct mapdev_object)
#define MAPDEV_IOC_FORGET	_IOW('m', 0x8e, struct mapdev_destroy)
#define MAPDEV_IOC_ATTR		_IOW('m', 0x8f, struct mapdev_attr_change)
#define MAPDEV_IOC_UEVENT	_IOW('m', 0x90, struct mapdev_uevent)
#define MAPDEV_IOC_SIGNAL	_IOW('m', 0x91, struct mapdev_signal)

#endif
