// SPDX-License-Identifier: GPL-2.0-only
/*
 * Commands: what a client's task does for the daemon while its call waits, since the client's
 * memory and descriptors are at hand in its context only. They keep no state; the result is in
 * session->command. The command slot is this task's until the result is ready.
 */
#include <linux/types.h>
#include <linux/kdev_t.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/uaccess.h>

#include "internal.h"

/*
 * Memory of the client: not when it holds its mmap_lock, for a fault would need it. A kernel thread
 * has none, but maybe somebody else's page tables.
 */
static s64 mapdev_copy(struct mapdev_call *call, void *slot)
{
	const struct mapdev_reply *reply = &call->reply;
	void __user *user = u64_to_user_ptr(reply->addr);
	unsigned long left;

	if (call->mm || current->flags & PF_KTHREAD)
		return -EFAULT;
	if (reply->kind == MAPDEV_COPY_FROM)
		left = copy_from_user(slot, user, reply->len);
	else
		left = copy_to_user(user, slot, reply->len);
	return reply->len - left;
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

/* The array grows up from the slot's beginning, names grow down from its end, until they meet. */
static s64 mapdev_list_areas(struct mapdev_session *s, struct mm_struct *mm, unsigned long addr,
			     void *slot)
{
	struct mapdev_area_info *to = slot;
	char *end = slot + MAPDEV_SLOT_SIZE;
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
			info.name = name - (char *)slot;
			end = name;
		}
		*to++ = info;
	}
	return to - (struct mapdev_area_info *)slot;
}

/*
 * The operations that are called with the mmap_lock held have it for write, or, for a fault, keep
 * others from writing.
 */
static s64 mapdev_areas(struct mapdev_call *call, void *slot)
{
	struct mapdev_command *command = &call->session->command;
	struct mm_struct *mm = call->mm ?: current->mm;
	s64 result;

	if (!mm)
		return -ESRCH;
	if (!call->mm && mmap_read_lock_killable(mm))
		return -EINTR;
	result = mapdev_list_areas(call->session, mm, call->reply.addr, slot);
	command->arg[0] = mm->map_count;
	command->arg[1] = mm->total_vm;
	if (!call->mm)
		mmap_read_unlock(mm);
	return result;
}

static s64 mapdev_install(struct mapdev_call *call, void *slot)
{
	struct mapdev_session *s = call->session;
	char name[MAPDEV_NAME_MAX];

	if (call->reply.addr > INT_MAX || current->flags & PF_KTHREAD)
		return -EINVAL;
	memcpy(name, slot, sizeof(name));
	name[sizeof(name) - 1] = '\0';
	return mapdev_device_install(s, call->reply.len, name, call->reply.addr,
				     &s->command.arg[0]);
}

/**
 * mapdev_command - carry out the command that came as a reply
 * @call: a call of the current task, MAPDEV_COMMANDED
 */
void mapdev_command(struct mapdev_call *call)
{
	struct mapdev_command *command = &call->session->command;
	void *slot = mapdev_slot(call->session, MAPDEV_COMMAND_SLOT);

	switch (call->reply.kind) {
	case MAPDEV_COPY_FROM:
		command->result = mapdev_copy(call, slot);
		command->len = max_t(s64, command->result, 0);
		break;
	case MAPDEV_COPY_TO:
		command->result = mapdev_copy(call, slot);
		break;
	case MAPDEV_AREAS:
		command->result = mapdev_areas(call, slot);
		command->len = command->result > 0 ? MAPDEV_SLOT_SIZE : 0;
		break;
	case MAPDEV_INSTALL:
		command->result = mapdev_install(call, slot);
		break;
	}
}
