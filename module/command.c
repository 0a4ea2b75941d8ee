// SPDX-License-Identifier: GPL-2.0-only
/*
 * Commands: what a client's task does for the daemon while its call waits, since the client's
 * memory and descriptors are at hand in its context only.
 *
 * A command (struct mapdev_command) is made by the daemon's reply, and is in session->commands
 * until its result was fetched, or it was given up. The client works on memory of the command's
 * own, for it may have to wait there as long as somebody else likes (userfaultfd, FUSE). The
 * command slot is only the window by which the daemon, in its own ioctls, fills that memory and
 * reads it.
 */
#include <linux/types.h>
#include <linux/kdev_t.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

#define MAPDEV_AREAS_SIZE	SZ_128K	/* at first, an eighth of a slot */

/*
 * Memory of the client: not when it holds its mmap_lock, for a fault would need it. A kernel thread
 * has none, but maybe somebody else's page tables.
 */
static s64 mapdev_copy(struct mapdev_call *call, struct mapdev_command *command)
{
	void __user *user = u64_to_user_ptr(command->addr);
	u32 size = command->size;

	if (call->mm || current->flags & PF_KTHREAD)
		return -EFAULT;
	if (command->kind == MAPDEV_COPY_TO)
		return size - copy_to_user(user, command->data, size);
	command->data = kvmalloc(max_t(u32, size, 1), GFP_KERNEL_ACCOUNT);
	if (!command->data)
		return -ENOMEM;
	command->len = size - copy_from_user(command->data, user, size);
	return command->len;
}

static void mapdev_describe_area(struct mapdev_session *s, const struct vm_area_struct *vma,
				 struct mapdev_area_info *info)
{
	struct mapdev_file *mf;
	struct inode *inode;

	memset(info, 0, sizeof(*info));
	info->vma = mapdev_vma(vma);
	if (!vma->vm_file)
		return;
	inode = file_inode(vma->vm_file);
	info->ino = inode->i_ino;
	info->dev = new_encode_dev(inode->i_sb->s_dev);
	info->area = mapdev_area_id(s, vma);
	if (info->area) {
		mf = vma->vm_file->private_data;
		info->file = mf->id;
	}
}

/*
 * The array grows up from the beginning, names grow down from the end, until they meet. True: that
 * was all there is.
 */
static bool mapdev_fill_areas(struct mapdev_session *s, struct mm_struct *mm, unsigned long addr,
			      struct mapdev_command *command)
{
	struct mapdev_area_info *first = command->data, *to = first;
	char *end = command->data + command->len;
	struct mapdev_area_info info;
	struct vm_area_struct *vma;
	char *name;

	for (vma = find_vma(mm, addr); vma; vma = find_vma(mm, vma->vm_end)) {
		if ((char *)(to + 1) > end)
			break;
		mapdev_describe_area(s, vma, &info);
		if (vma->vm_file) {
			name = file_path(vma->vm_file, (char *)(to + 1), end - (char *)(to + 1));
			if (IS_ERR(name))
				break;
			info.name = name - (char *)first;
			end = name;
		}
		*to++ = info;
	}
	command->result = to - first;
	command->arg[0] = mm->map_count;
	command->arg[1] = mm->total_vm;
	return !vma;
}

/*
 * The operations that are called with the mmap_lock held have it for write, or, for a fault, keep
 * others from writing.
 */
static s64 mapdev_areas(struct mapdev_call *call, struct mapdev_command *command)
{
	struct mm_struct *mm = call->mm ?: current->mm;
	bool done = false;
	u32 size;

	if (!mm)
		return -ESRCH;
	/* Most have few, for which little memory is enough. */
	for (size = MAPDEV_AREAS_SIZE; !done && size <= MAPDEV_SLOT_SIZE; size *= 8) {
		kvfree(command->data);
		command->len = 0;
		command->data = kvzalloc(size, GFP_KERNEL_ACCOUNT);
		if (!command->data)
			return -ENOMEM;
		command->len = size;
		if (!call->mm && mmap_read_lock_killable(mm))
			return -EINTR;
		done = mapdev_fill_areas(call->session, mm, command->addr, command);
		if (!call->mm)
			mmap_read_unlock(mm);
	}
	return command->result;
}

static s64 mapdev_install(struct mapdev_call *call, struct mapdev_command *command)
{
	char *name = command->data;

	if (command->addr > INT_MAX || current->flags & PF_KTHREAD)
		return -EINVAL;
	name[MAPDEV_NAME_MAX - 1] = '\0';
	return mapdev_device_install(call->session, command->size, name, command->addr,
				     &command->arg[0]);
}

/**
 * mapdev_command_new - begin a command
 * @s: the session; the calling task is its daemon, whose command slot is read
 * @reply: what it asks for
 *
 * Return: the command, or NULL for want of memory, or because the session has ended.
 */
struct mapdev_command *mapdev_command_new(struct mapdev_session *s,
					  const struct mapdev_reply *reply)
{
	struct mapdev_command *command = kzalloc(sizeof(*command), GFP_KERNEL_ACCOUNT);
	size_t len = 0;

	if (!command)
		return NULL;
	refcount_set(&command->ref, 1);
	INIT_LIST_HEAD(&command->node);
	command->id = reply->id;
	command->kind = reply->kind;
	command->size = reply->len;
	command->addr = reply->addr;
	if (reply->kind == MAPDEV_COPY_TO)
		len = max_t(u32, reply->len, 1);
	if (reply->kind == MAPDEV_INSTALL)
		len = MAPDEV_NAME_MAX;
	if (!len)
		return command;
	command->data = kvmalloc(len, GFP_KERNEL_ACCOUNT);
	if (!command->data || mapdev_command_slot_read(s, command->data, len)) {
		kvfree(command->data);
		kfree(command);
		return NULL;
	}
	return command;
}

void mapdev_command_put(struct mapdev_command *command)
{
	if (!refcount_dec_and_test(&command->ref))
		return;
	kvfree(command->data);
	kfree(command);
}

/**
 * mapdev_command - carry out a command
 * @call: a call of the current task
 * @command: came as a reply to it
 */
void mapdev_command(struct mapdev_call *call, struct mapdev_command *command)
{
	switch (command->kind) {
	case MAPDEV_COPY_FROM:
	case MAPDEV_COPY_TO:
		command->result = mapdev_copy(call, command);
		break;
	case MAPDEV_AREAS:
		command->result = mapdev_areas(call, command);
		break;
	case MAPDEV_INSTALL:
		command->result = mapdev_install(call, command);
		break;
	}
	if (command->result < 0)
		command->len = 0;
}
