// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inodes of devices, and files without a node: a file system that only the module sees.
 *
 * Each device has an inode there, whose address_space is that of all areas of the device; a file that
 * MAPDEV_INSTALL makes has that inode, too.
 */
#include <linux/fs_context.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>
#include <linux/string.h>

#include "internal.h"

#define MAPDEV_MAGIC	0x6d617064	/* "mapd" */

static struct vfsmount *mapdev_mnt;

/* For iput(); or an ERR_PTR. */
struct inode *mapdev_anon_inode(void)
{
	return alloc_anon_inode(mapdev_mnt->mnt_sb);
}

static struct file *mapdev_anon_file(struct mapdev_device *dev, const char *name, int flags)
{
	const struct file_operations *fops = fops_get(mapdev_device_fops(dev));
	struct file *file;

	ihold(dev->inode);
	file = alloc_file_pseudo(dev->inode, mapdev_mnt, name, flags, fops);
	if (IS_ERR(file)) {
		iput(dev->inode);
		fops_put(fops);
	}
	return file;
}

/**
 * mapdev_device_install - give the current task, a client, a descriptor of an anonymous device
 * @s: the session
 * @id: of the device
 * @name: what /proc shows
 * @flags: O_ACCMODE, O_NONBLOCK, O_CLOEXEC
 * @id_out: of the open file
 *
 * Return: the descriptor, or EINVAL, ENOENT, ENOMEM, EMFILE.
 */
int mapdev_device_install(struct mapdev_session *s, u32 id, const char *name, int flags,
			  u64 *id_out)
{
	struct mapdev_device *dev;
	struct mapdev_file *mf;
	struct file *file;
	int fd;

	if (flags & ~(O_ACCMODE | O_NONBLOCK | O_CLOEXEC))
		return -EINVAL;
	dev = mapdev_device_find(s, id);
	if (!dev)
		return -ENOENT;
	mf = dev->is_shown ? ERR_PTR(-EINVAL) : mapdev_file_new(dev);
	if (IS_ERR(mf)) {
		put_device(&dev->dev);
		return PTR_ERR(mf);
	}
	fd = get_unused_fd_flags(flags & O_CLOEXEC);
	if (fd < 0)
		goto err_mf;
	file = mapdev_anon_file(dev, name, flags & ~O_CLOEXEC);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		fd = PTR_ERR(file);
		goto err_mf;
	}
	file->private_data = mf;
	*id_out = mf->id;
	fd_install(fd, file);
	return fd;

err_mf:
	mapdev_file_drop(mf);
	return fd;
}

static char *mapdev_dname(struct dentry *dentry, char *buffer, int len)
{
	char text[sizeof("anon_inode:") + MAPDEV_NAME_MAX];
	int size = scnprintf(text, sizeof(text), "anon_inode:%s", dentry->d_name.name) + 1;

	if (size > len)
		return ERR_PTR(-ENAMETOOLONG);
	return memcpy(buffer + len - size, text, size);
}

static const struct dentry_operations mapdev_dentry_operations = {
	.d_dname = mapdev_dname,
};

static int mapdev_init_fs_context(struct fs_context *fc)
{
	struct pseudo_fs_context *ctx = init_pseudo(fc, MAPDEV_MAGIC);

	if (!ctx)
		return -ENOMEM;
	ctx->dops = &mapdev_dentry_operations;
	return 0;
}

/* Without an owner, or our own mount would keep the module in use for ever. */
static struct file_system_type mapdev_fs = {
	.name = "mapdev",
	.init_fs_context = mapdev_init_fs_context,
	.kill_sb = kill_anon_super,
};

int __init mapdev_anon_init(void)
{
	mapdev_mnt = kern_mount(&mapdev_fs);
	return PTR_ERR_OR_ZERO(mapdev_mnt);
}

void mapdev_anon_exit(void)
{
	kern_unmount(mapdev_mnt);
}
