/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The reference devices in C: what devices.py, peculiar.py and control.py are in Python.
 *
 * main.c has the list of all devices and makes them, memory.c their memory; file.c are the
 * operations of open files, plain.c those of devices that are about them; devices.c and peculiar.c those of areas; control_device.c is /dev/ref_ctl.
 */
#ifndef REFERENCE_H
#define REFERENCE_H

#include <linux/atomic.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/poll.h>

#include "compat.h"
#include "control.h"

struct ref_device;

enum ref_memory {
	REF_SINGLE_PAGES,	/* pages, wherever they are */
	REF_CONTIGUOUS,		/* pages in a row */
	REF_VMALLOC,		/* pages in a row for the kernel only */
};

/* What a device does. */
struct ref_kind {
	const char *name;	/* of /dev/ref_NAME */
	enum ref_memory memory;
	int (*fill)(struct ref_device *dev, struct vm_area_struct *vma);	/* mmap, or none */
	const struct file_operations *fops;	/* if not those of all others */
};

struct ref_device {
	const struct ref_kind *kind;
	struct miscdevice misc;

	struct page **pages;
	unsigned long nr_pages;
	void *vmalloced;	/* REF_VMALLOC: its address in the kernel */
	void *slab;		/* a page from kmalloc, which is there to be refused */

	struct file *opened;	/* the last that was opened, while it is open; under ref_opened_lock */
	atomic64_t ran[REF_NR_OPERATIONS];
	s64 result;		/* what operations return that can be told to */
	unsigned long mmap_pgoff;
	unsigned long fault_pgoff;
	unsigned long fault_address;
	unsigned int fault_flags;
	unsigned int open_flags;
	size_t count;		/* of the last read or write */
	loff_t pos;
	unsigned int command;	/* of the last ioctl */
	unsigned long argument;

	__poll_t mask;		/* what poll answers */
	wait_queue_head_t queue;	/* woken when that changes */
	struct fasync_struct *fasync;	/* told then, too */
};

static inline struct ref_device *ref_device_of(struct file *file)
{
	return container_of(file->private_data, struct ref_device, misc);
}

static inline void ref_count(struct ref_device *dev, enum ref_operation operation)
{
	atomic64_inc(&dev->ran[operation]);
}

/* main.c */
struct ref_device *ref_find(const char *name);

/* memory.c */
int ref_allocate(struct ref_device *dev, unsigned long nr_pages);
void ref_free(struct ref_device *dev);
void ref_reset(struct ref_device *dev);
void *ref_locate(struct ref_device *dev, u64 offset);

/* file.c */
extern const struct file_operations ref_fops, ref_fops_without_mmap;
extern struct mutex ref_opened_lock;
int ref_open(struct inode *inode, struct file *file);
int ref_release(struct inode *inode, struct file *file);
ssize_t ref_read(struct file *file, char __user *buf, size_t count, loff_t *pos);
ssize_t ref_write(struct file *file, const char __user *buf, size_t count, loff_t *pos);
loff_t ref_llseek(struct file *file, loff_t offset, int whence);

/* plain.c: devices that are no memory to map */
extern const struct file_operations ref_bare_fops, ref_stream_fops, ref_seekless_fops, ref_ready_fops,
	ref_commands_fops, ref_refuse_fops;

/* devices.c */
int ref_fill_pfn(struct ref_device *dev, struct vm_area_struct *vma);
int ref_fill_vmalloc(struct ref_device *dev, struct vm_area_struct *vma);
int ref_fill_insert(struct ref_device *dev, struct vm_area_struct *vma);
int ref_fill_inserts(struct ref_device *dev, struct vm_area_struct *vma);
int ref_fill_fault(struct ref_device *dev, struct vm_area_struct *vma);
int ref_fill_fault_pfn(struct ref_device *dev, struct vm_area_struct *vma);

extern const struct vm_operations_struct ref_vm_ops;	/* nothing but open and close, counted */
int ref_check_bounds(struct ref_device *dev, struct vm_area_struct *vma);
void ref_vm_open(struct vm_area_struct *vma);
void ref_vm_close(struct vm_area_struct *vma);
vm_fault_t ref_fault(struct vm_fault *vmf);

/* peculiar.c */
int ref_fill_err(struct ref_device *dev, struct vm_area_struct *vma);
int ref_fill_half(struct ref_device *dev, struct vm_area_struct *vma);
int ref_fill_mkwrite(struct ref_device *dev, struct vm_area_struct *vma);
int ref_fill_hooks(struct ref_device *dev, struct vm_area_struct *vma);
int ref_fill_dontcopy(struct ref_device *dev, struct vm_area_struct *vma);
int ref_fill_noclose(struct ref_device *dev, struct vm_area_struct *vma);
int ref_fill_mappages(struct ref_device *dev, struct vm_area_struct *vma);
int ref_fill_iomap(struct ref_device *dev, struct vm_area_struct *vma);
int ref_fill_api(struct ref_device *dev, struct vm_area_struct *vma);
int ref_fill_vmalloc_range(struct ref_device *dev, struct vm_area_struct *vma);

/* sensor.c */
int ref_sensor_init(void);
void ref_sensor_exit(void);
int ref_unit_exists(bool wanted);

/* control_device.c */
extern struct miscdevice ref_control;

#endif
