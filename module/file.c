// SPDX-License-Identifier: GPL-2.0-only
/*
 * Open files of devices, and the operations on them: each is a call that the daemon answers.
 *
 * An open file (struct mapdev_file) lives from open to the delivery of MAPDEV_RELEASE, whose notice
 * it has in it, and keeps its device alive.
 */
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

static void mapdev_file_free(struct mapdev_file *mf)
{
	put_device(&mf->dev->dev);
	kfree(mf);
	atomic_dec(&mapdev_nr_files);
}

static void mapdev_file_released(struct mapdev_notice *notice)
{
	mapdev_file_free(container_of(notice, struct mapdev_file, release));
}

/* Takes over the caller's reference on the device, if it succeeds. */
struct mapdev_file *mapdev_file_new(struct mapdev_device *dev)
{
	struct mapdev_file *mf = kzalloc(sizeof(*mf), GFP_KERNEL_ACCOUNT);
	int ret;

	if (!mf)
		return ERR_PTR(-ENOMEM);
	mf->dev = dev;
	mf->id = mapdev_new_id();
	init_waitqueue_head(&mf->wait);
	mf->shown = MAPDEV_NOT_SHOWN;
	INIT_LIST_HEAD(&mf->areas);
	mf->release.op = MAPDEV_RELEASE;
	mf->release.device = dev->id;
	mf->release.file = mf->id;
	mf->release.done = mapdev_file_released;
	ret = xa_insert(&dev->session->files, mf->id, mf, GFP_KERNEL_ACCOUNT);
	if (ret) {
		kfree(mf);
		return ERR_PTR(ret);
	}
	atomic_inc(&mapdev_nr_files);
	return mf;
}

/* It was never open. */
void mapdev_file_drop(struct mapdev_file *mf)
{
	xa_erase(&mf->dev->session->files, mf->id);
	mapdev_file_free(mf);
}

static int mapdev_ask_to_open(struct inode *inode, struct file *file, struct mapdev_file *mf)
{
	struct mapdev_call *call = mapdev_call_new(mf, file, MAPDEV_OPEN);
	int ret;

	if (IS_ERR(call))
		return PTR_ERR(call) == -EIO ? -ENODEV : PTR_ERR(call);
	call->request.arg[0] = (__force u32)(file->f_mode & (FMODE_READ | FMODE_WRITE));
	ret = mapdev_call_run(call);
	if (!ret && call->reply.flags & MAPDEV_REPLY_NONSEEKABLE)
		nonseekable_open(inode, file);
	if (!ret && call->reply.flags & MAPDEV_REPLY_STREAM)
		stream_open(inode, file);
	mapdev_call_end(call);
	return ret;
}

static int mapdev_open(struct inode *inode, struct file *file)
{
	struct mapdev_device *dev = mapdev_device_get(inode->i_rdev);
	struct mapdev_file *mf;
	int ret;

	if (!dev)
		return -ENODEV;
	mf = mapdev_file_new(dev);
	if (IS_ERR(mf)) {
		put_device(&dev->dev);
		return PTR_ERR(mf);
	}
	ret = mapdev_ask_to_open(inode, file, mf);
	if (ret) {
		mapdev_file_drop(mf);
		return ret;
	}
	file->private_data = mf;
	file->f_mapping = dev->inode->i_mapping;
	return 0;
}

static int mapdev_release(struct inode *inode, struct file *file)
{
	struct mapdev_file *mf = file->private_data;
	struct mapdev_session *s = mf->dev->session;

	xa_erase(&s->files, mf->id);
	mapdev_call_forget(mf);
	mapdev_area_reap(mf);
	mapdev_notify(s, &mf->release);
	return 0;
}

/* ---- operations ----------------------------------------------------------------------------- */

/*
 * Of a stream that came to an address that is not there the rest can't be read again: it fails, as
 * with drivers that use copy_to_user(). Others return how far that has come.
 */
static ssize_t mapdev_take_data(struct mapdev_call *call, struct file *file, char __user *buf,
				loff_t *pos)
{
	size_t len = call->reply.len, left = 0;

	if (len)
		left = mapdev_call_copy_out(call, buf);
	if (left && (left == len || file->f_mode & FMODE_STREAM))
		return -EFAULT;
	if (left) {
		if (pos && call->reply.flags & MAPDEV_REPLY_POS)
			*pos += len - left;
		return len - left;
	}
	if (pos && call->reply.flags & MAPDEV_REPLY_POS)
		*pos = call->reply.pos;
	return call->reply.result;
}

static ssize_t mapdev_read(struct file *file, char __user *buf, size_t count, loff_t *pos)
{
	struct mapdev_call *call = mapdev_call_new(file->private_data, file, MAPDEV_READ);
	ssize_t ret;

	if (IS_ERR(call))
		return PTR_ERR(call);
	call->request.arg[0] = count;
	call->request.arg[1] = pos ? *pos : 0;
	call->request.arg[2] = (unsigned long)buf;
	ret = mapdev_call_run(call);
	if (ret >= 0)
		ret = mapdev_take_data(call, file, buf, pos);
	mapdev_call_end(call);
	return ret;
}

static ssize_t mapdev_write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
	struct mapdev_call *call = mapdev_call_new(file->private_data, file, MAPDEV_WRITE);
	ssize_t ret;

	if (IS_ERR(call))
		return PTR_ERR(call);
	call->request.arg[0] = count;
	call->request.arg[1] = pos ? *pos : 0;
	call->request.arg[2] = (unsigned long)buf;
	ret = mapdev_call_payload(call, buf, count);
	if (ret >= 0)
		ret = mapdev_call_run(call);
	if (ret >= 0 && pos && call->reply.flags & MAPDEV_REPLY_POS)
		*pos = call->reply.pos;
	mapdev_call_end(call);
	return ret;
}

static loff_t mapdev_llseek(struct file *file, loff_t offset, int whence)
{
	struct mapdev_call *call = mapdev_call_new(file->private_data, file, MAPDEV_LLSEEK);
	loff_t ret;

	if (IS_ERR(call))
		return PTR_ERR(call);
	call->request.arg[0] = offset;
	call->request.arg[1] = whence;
	call->request.arg[2] = file->f_pos;
	ret = mapdev_call_run(call);
	if (ret >= 0 && call->reply.flags & MAPDEV_REPLY_POS)
		file->f_pos = call->reply.pos;
	mapdev_call_end(call);
	return ret;
}

/* What the command's number says of its argument is made ready: most need no further command. */
static int mapdev_ioctl_argument(struct mapdev_call *call, unsigned int cmd, void __user *arg)
{
	size_t size = _IOC_SIZE(cmd);
	int ret = 0;

	if (_IOC_DIR(cmd) & _IOC_WRITE)
		ret = mapdev_call_payload(call, arg, size);
	if (ret < 0)
		return ret;
	if (ret)
		call->request.flags |= MAPDEV_ARG_COPIED;
	if (_IOC_DIR(cmd) & _IOC_READ && size && !fault_in_safe_writeable(arg, size))
		call->request.flags |= MAPDEV_ARG_WRITABLE;
	return 0;
}

static long mapdev_do_ioctl(struct file *file, unsigned int cmd, unsigned long arg, u32 flags)
{
	struct mapdev_call *call = mapdev_call_new(file->private_data, file, MAPDEV_IOCTL);
	struct mapdev_reply *reply;
	long ret;

	if (IS_ERR(call))
		return PTR_ERR(call);
	reply = &call->reply;
	call->request.flags = flags;
	call->request.arg[0] = cmd;
	call->request.arg[1] = arg;
	ret = mapdev_ioctl_argument(call, cmd, (void __user *)arg);
	if (!ret)
		ret = mapdev_call_run(call);
	if (ret >= 0 && reply->len &&
	    mapdev_call_copy_out(call, u64_to_user_ptr(reply->addr)))
		ret = -EFAULT;
	mapdev_call_end(call);
	return ret;
}

static long mapdev_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return mapdev_do_ioctl(file, cmd, arg, 0);
}

#ifdef CONFIG_COMPAT
static long mapdev_compat_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return mapdev_do_ioctl(file, cmd, arg, MAPDEV_COMPAT);
}
#endif

static __poll_t mapdev_poll(struct file *file, poll_table *table)
{
	struct mapdev_file *mf = file->private_data;
	struct mapdev_call *call;
	u32 shown;
	s64 ret;

	/* Takes the queue's lock, and so does a wake-up: whose cause it missed, it is woken by. */
	poll_wait(file, &mf->wait, table);
	if (READ_ONCE(mf->dev->gone))
		return EPOLLERR | EPOLLHUP;
	shown = READ_ONCE(mf->shown);
	if (shown != MAPDEV_NOT_SHOWN)
		return (__force __poll_t)shown;
	call = mapdev_call_new(mf, file, MAPDEV_POLL);
	if (IS_ERR(call))
		return READ_ONCE(mf->dev->gone) ? EPOLLERR | EPOLLHUP : EPOLLERR;
	call->request.arg[0] = (__force u32)poll_requested_events(table);
	ret = mapdev_call_run(call);
	mapdev_call_end(call);
	if (ret >= 0)
		return (__force __poll_t)(ret & MAPDEV_POLL_EVENTS);
	if (ret == -EIO || READ_ONCE(mf->dev->gone))
		return EPOLLERR | EPOLLHUP;
	/* A signal: who polls looks for that itself. */
	return ret == -ERESTARTSYS || ret == -EINTR ? 0 : EPOLLERR;
}

static int mapdev_fsync(struct file *file, loff_t start, loff_t end, int datasync)
{
	struct mapdev_call *call = mapdev_call_new(file->private_data, file, MAPDEV_FSYNC);
	int ret;

	if (IS_ERR(call))
		return PTR_ERR(call);
	call->request.arg[0] = start;
	call->request.arg[1] = end;
	call->request.arg[2] = datasync;
	ret = mapdev_call_run(call);
	mapdev_call_end(call);
	return ret;
}

/*
 * At each close of a descriptor, at the end of a process too, where signals may still be pending:
 * they don't keep it from being told. The daemon's own closes would be waited for by itself.
 */
static int mapdev_flush(struct file *file, fl_owner_t id)
{
	struct mapdev_call *call = mapdev_call_new(file->private_data, file, MAPDEV_FLUSH);
	int ret;

	if (IS_ERR(call))
		return PTR_ERR(call) == -EDEADLK ? 0 : PTR_ERR(call);
	call->killable = true;
	ret = mapdev_call_run(call);
	mapdev_call_end(call);
	return ret;
}

/*
 * The daemon says whether the file is on its driver's list; the list of those who are signalled is
 * ours, one for each file. At the end the file leaves that whatever the daemon says.
 */
static int mapdev_fasync(int fd, struct file *file, int on)
{
	struct mapdev_file *mf = file->private_data;
	struct mapdev_call *call = mapdev_call_new(mf, file, MAPDEV_FASYNC);
	bool helps = fd < 0;
	int ret;

	if (IS_ERR(call)) {
		ret = PTR_ERR(call);
	} else {
		call->killable = true;
		call->request.arg[0] = fd;
		call->request.arg[1] = on;
		ret = mapdev_call_run(call);
		if (!ret && call->reply.flags & MAPDEV_REPLY_ASYNC)
			helps = true;
		mapdev_call_end(call);
	}
	if (helps) {
		int changed = fasync_helper(fd, file, on, &mf->fasync);

		if (changed < 0)
			ret = changed;
	}
	return fd < 0 ? 0 : ret;
}

void __init mapdev_file_init(struct file_operations *fops, u32 has)
{
	fops->owner = THIS_MODULE;
	fops->open = mapdev_open;
	fops->release = mapdev_release;
	if (has & MAPDEV_HAS_READ)
		fops->read = mapdev_read;
	if (has & MAPDEV_HAS_WRITE)
		fops->write = mapdev_write;
	if (has & MAPDEV_HAS_LLSEEK)
		fops->llseek = mapdev_llseek;
	if (has & MAPDEV_HAS_POLL)
		fops->poll = mapdev_poll;
	if (has & MAPDEV_HAS_MMAP)
		fops->mmap = mapdev_area_mmap;
	if (has & MAPDEV_HAS_FSYNC)
		fops->fsync = mapdev_fsync;
	if (has & MAPDEV_HAS_FLUSH)
		fops->flush = mapdev_flush;
	if (has & MAPDEV_HAS_FASYNC)
		fops->fasync = mapdev_fasync;
	if (has & MAPDEV_HAS_IOCTL) {
		fops->unlocked_ioctl = mapdev_ioctl;
#ifdef CONFIG_COMPAT
		fops->compat_ioctl = mapdev_compat_ioctl;
#endif
	}
}
