// SPDX-License-Identifier: GPL-2.0-only
/* The operations of open files. All but mmap are the same for all reference devices. */
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/uaccess.h>

#include "reference.h"

DEFINE_MUTEX(ref_opened_lock);

int ref_open(struct inode *inode, struct file *file)
{
	struct ref_device *dev = ref_device_of(file);

	ref_count(dev, REF_OPEN);
	dev->open_flags = file->f_flags;
	mutex_lock(&ref_opened_lock);
	dev->opened = file;
	mutex_unlock(&ref_opened_lock);
	return 0;
}

int ref_release(struct inode *inode, struct file *file)
{
	struct ref_device *dev = ref_device_of(file);

	mutex_lock(&ref_opened_lock);
	if (dev->opened == file)
		dev->opened = NULL;
	mutex_unlock(&ref_opened_lock);
	ref_count(dev, REF_RELEASE);
	return 0;
}

/* How much of `count` bytes at `pos` is there. */
static size_t ref_available(struct ref_device *dev, size_t count, loff_t pos)
{
	u64 size = (u64)dev->nr_pages << PAGE_SHIFT;

	return (u64)pos < size ? min_t(u64, count, size - pos) : 0;
}

ssize_t ref_read(struct file *file, char __user *buf, size_t count, loff_t *pos)
{
	struct ref_device *dev = ref_device_of(file);
	size_t done = 0, part, left = 0;

	ref_count(dev, REF_READ);
	dev->count = count;
	dev->pos = *pos;
	count = ref_available(dev, count, *pos);
	while (done < count && !left) {
		part = min_t(size_t, count - done, PAGE_SIZE - offset_in_page(*pos));
		left = copy_to_user(buf + done, ref_locate(dev, *pos), part);
		done += part - left;
		*pos += part - left;
	}
	return done || !left ? done : -EFAULT;
}

ssize_t ref_write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
	struct ref_device *dev = ref_device_of(file);
	size_t done = 0, part, left = 0;

	ref_count(dev, REF_WRITE);
	dev->count = count;
	dev->pos = *pos;
	if (*pos >= dev->nr_pages << PAGE_SHIFT)
		return -ENOSPC;
	count = ref_available(dev, count, *pos);
	while (done < count && !left) {
		part = min_t(size_t, count - done, PAGE_SIZE - offset_in_page(*pos));
		left = copy_from_user(ref_locate(dev, *pos), buf + done, part);
		done += part - left;
		*pos += part - left;
	}
	return done || !left ? done : -EFAULT;
}

loff_t ref_llseek(struct file *file, loff_t offset, int whence)
{
	struct ref_device *dev = ref_device_of(file);

	ref_count(dev, REF_LLSEEK);
	return fixed_size_llseek(file, offset, whence, dev->nr_pages << PAGE_SHIFT);
}

static int ref_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct ref_device *dev = ref_device_of(file);

	ref_count(dev, REF_MMAP);
	dev->mmap_pgoff = vma->vm_pgoff;
	return dev->kind->fill(dev, vma);
}

const struct file_operations ref_fops = {
	.owner = THIS_MODULE,
	.open = ref_open,
	.release = ref_release,
	.read = ref_read,
	.write = ref_write,
	.llseek = ref_llseek,
	.mmap = ref_mmap,
};

const struct file_operations ref_fops_without_mmap = {
	.owner = THIS_MODULE,
	.open = ref_open,
	.release = ref_release,
	.read = ref_read,
	.write = ref_write,
	.llseek = ref_llseek,
};
