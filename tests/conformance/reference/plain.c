// SPDX-License-Identifier: GPL-2.0-only
/* The devices that rows about files, not memory, are asked of: each lacks or has other operations. */
#include <linux/module.h>
#include <linux/uaccess.h>

#include "reference.h"

#define REF_CHUNK 8	/* bytes that a stream gives or takes at a time */

/* bare: nothing but open and release. */
const struct file_operations ref_bare_fops = {
	.owner = THIS_MODULE,
	.open = ref_open,
	.release = ref_release,
};

static int ref_stream_open(struct inode *inode, struct file *file)
{
	return ref_open(inode, file) ?: stream_open(inode, file);
}

/* stream: no position, and REF_CHUNK bytes at a time of what page 0 begins with. */
static ssize_t ref_stream_read(struct file *file, char __user *buf, size_t count, loff_t *pos)
{
	struct ref_device *dev = ref_device_of(file);

	ref_count(dev, REF_READ);
	dev->count = count;
	count = min_t(size_t, count, REF_CHUNK);
	return copy_to_user(buf, ref_locate(dev, 0), count) ? -EFAULT : count;
}

static ssize_t ref_stream_write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
	struct ref_device *dev = ref_device_of(file);

	ref_count(dev, REF_WRITE);
	dev->count = count;
	count = min_t(size_t, count, REF_CHUNK);
	return copy_from_user(ref_locate(dev, 0), buf, count) ? -EFAULT : count;
}

const struct file_operations ref_stream_fops = {
	.owner = THIS_MODULE,
	.open = ref_stream_open,
	.release = ref_release,
	.read = ref_stream_read,
	.write = ref_stream_write,
};

/* seekless: a position that only read and write move. */
static int ref_seekless_open(struct inode *inode, struct file *file)
{
	return ref_open(inode, file) ?: nonseekable_open(inode, file);
}

const struct file_operations ref_seekless_fops = {
	.owner = THIS_MODULE,
	.open = ref_seekless_open,
	.release = ref_release,
	.read = ref_read,
	.write = ref_write,
};

/* ready: a stream that has to be waited for, until the mask that it is told says otherwise. */
static int ref_wait(struct ref_device *dev, struct file *file, __poll_t wanted)
{
	wanted |= EPOLLHUP;
	if (READ_ONCE(dev->mask) & wanted)
		return 0;
	if (file->f_flags & O_NONBLOCK)
		return -EAGAIN;
	return wait_event_interruptible(dev->queue, READ_ONCE(dev->mask) & wanted);
}

static ssize_t ref_ready_read(struct file *file, char __user *buf, size_t count, loff_t *pos)
{
	return ref_wait(ref_device_of(file), file, EPOLLIN) ?: ref_stream_read(file, buf, count, pos);
}

static ssize_t ref_ready_write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
	return ref_wait(ref_device_of(file), file, EPOLLOUT) ?: ref_stream_write(file, buf, count, pos);
}

static __poll_t ref_poll(struct file *file, poll_table *wait)
{
	struct ref_device *dev = ref_device_of(file);

	poll_wait(file, &dev->queue, wait);
	return READ_ONCE(dev->mask);
}

const struct file_operations ref_ready_fops = {
	.owner = THIS_MODULE,
	.open = ref_stream_open,
	.release = ref_release,
	.read = ref_ready_read,
	.write = ref_ready_write,
	.poll = ref_poll,
};

/* commands: operations that return what they are told: all ioctl commands, fsync, flush, fasync. */
static long ref_any_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct ref_device *dev = ref_device_of(file);

	ref_count(dev, REF_IOCTL);
	dev->command = command;
	dev->argument = argument;
	return dev->result;
}

static int ref_fsync(struct file *file, loff_t start, loff_t end, int datasync)
{
	struct ref_device *dev = ref_device_of(file);

	ref_count(dev, REF_FSYNC);
	dev->pos = start;
	dev->count = datasync;
	dev->argument = end;
	return dev->result;
}

static int ref_flush(struct file *file, fl_owner_t id)
{
	struct ref_device *dev = ref_device_of(file);

	ref_count(dev, REF_FLUSH);
	return dev->result;
}

static int ref_fasync(int fd, struct file *file, int on)
{
	struct ref_device *dev = ref_device_of(file);

	ref_count(dev, REF_FASYNC);
	return dev->result ?: fasync_helper(fd, file, on, &dev->fasync);
}

const struct file_operations ref_commands_fops = {
	.owner = THIS_MODULE,
	.open = ref_open,
	.release = ref_release,
	.read = ref_read,
	.write = ref_write,
	.llseek = ref_llseek,
	.unlocked_ioctl = ref_any_ioctl,
	.fsync = ref_fsync,
	.flush = ref_flush,
	.fasync = ref_fasync,
};

/* refuse: an open operation that fails as told, which is not counted: no release follows. */
static int ref_refuse_open(struct inode *inode, struct file *file)
{
	struct ref_device *dev = ref_device_of(file);

	if (!dev->result)
		return ref_open(inode, file);
	dev->open_flags = file->f_flags;
	return dev->result;
}

const struct file_operations ref_refuse_fops = {
	.owner = THIS_MODULE,
	.open = ref_refuse_open,
	.release = ref_release,
	.read = ref_read,
	.write = ref_write,
	.llseek = ref_llseek,
};
