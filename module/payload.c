// SPDX-License-Identifier: GPL-2.0-only
/*
 * Payload: what is too long for a request or a reply lies in slots of memory that the daemon has
 * mapped.
 *
 * The memory is the session's, from MAPDEV_IOC_INIT to the session's end; what the daemon has mapped
 * of it is the daemon's from then on. Whoever uses it has a slot, or has said mapdev_payload_get():
 * the session's end waits for them. Nobody waits for anything else meanwhile, least of all for user
 * memory, so that this is short.
 */
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "internal.h"

#define MAPDEV_COPY_TRIES	3

static void *mapdev_slot(struct mapdev_session *s, unsigned int slot)
{
	return s->payload.address + slot * MAPDEV_SLOT_SIZE;
}

/* The daemon may write there, too: we never read it. */
static void mapdev_slot_busy(struct mapdev_session *s, unsigned int slot, u32 busy)
{
	u32 *array = s->payload.address + MAPDEV_BUSY_OFFSET;

	/* The copying that it stands for is over when the daemon sees 0. */
	smp_store_release(&array[slot - MAPDEV_REQUEST_SLOTS], busy);
}

/* session->lock is held. */
static void mapdev_payload_put_locked(struct mapdev_session *s)
{
	if (!--s->payload_users)
		wake_up(&s->room);
}

/**
 * mapdev_payload_get - use the payload in the daemon's own task
 * @s: the session
 *
 * Return: false: the session has ended, and it is gone or about to be.
 */
bool mapdev_payload_get(struct mapdev_session *s)
{
	bool dead;

	spin_lock(&s->lock);
	dead = s->dead;
	if (!dead)
		s->payload_users++;
	spin_unlock(&s->lock);
	return !dead;
}

/**
 * mapdev_payload_put - the end of mapdev_payload_get()
 * @s: the session
 */
void mapdev_payload_put(struct mapdev_session *s)
{
	spin_lock(&s->lock);
	mapdev_payload_put_locked(s);
	spin_unlock(&s->lock);
}

static bool mapdev_payload_unused(struct mapdev_session *s)
{
	bool unused;

	spin_lock(&s->lock);
	unused = !s->payload_users;
	spin_unlock(&s->lock);
	return unused;
}

/**
 * mapdev_payload_free - give the memory back
 * @s: the session, which has ended: nobody begins to use it any more
 *
 * Mappings of buffers may keep the session for as long as the daemon's process likes.
 */
void mapdev_payload_free(struct mapdev_session *s)
{
	wait_event(s->room, mapdev_payload_unused(s));
	atomic_sub(s->payload.nr_pages, &mapdev_nr_payload);
	mapdev_scattered_free(&s->payload);
}

int mapdev_payload_alloc(struct mapdev_session *s)
{
	int ret = mapdev_scattered_alloc(&s->payload, MAPDEV_PAYLOAD_SIZE >> PAGE_SHIFT);

	if (!ret)
		atomic_add(s->payload.nr_pages, &mapdev_nr_payload);
	return ret;
}

/* mmap of the control device, at its beginning: 0, ENODEV, EINVAL, ENOMEM. */
int mapdev_payload_mmap(struct mapdev_session *s, struct vm_area_struct *vma)
{
	int ret;

	if (!mapdev_payload_get(s))
		return -ENODEV;
	ret = remap_vmalloc_range(vma, s->payload.address, vma->vm_pgoff);
	mapdev_payload_put(s);
	return ret;
}

/* ---- the command slot ----------------------------------------------------------------------- */

/* What the daemon has put there, in its own task; -ENODEV. */
int mapdev_command_slot_read(struct mapdev_session *s, void *to, size_t len)
{
	if (!mapdev_payload_get(s))
		return -ENODEV;
	memcpy(to, mapdev_slot(s, MAPDEV_COMMAND_SLOT), len);
	mapdev_payload_put(s);
	return 0;
}

/* For the daemon, in its own task; nothing if the session has ended. */
void mapdev_command_slot_write(struct mapdev_session *s, const void *from, size_t len)
{
	if (!mapdev_payload_get(s))
		return;
	memcpy(mapdev_slot(s, MAPDEV_COMMAND_SLOT), from, len);
	mapdev_payload_put(s);
}

/* ---- of requests ---------------------------------------------------------------------------- */

static int mapdev_get_slot(struct mapdev_session *s)
{
	int slot = -1;

	spin_lock(&s->lock);
	if (s->dead) {
		slot = -EIO;
	} else if (s->free_slots) {
		slot = __ffs(s->free_slots);
		__clear_bit(slot, &s->free_slots);
		s->payload_users++;
	}
	spin_unlock(&s->lock);
	return slot;
}

/*
 * session->lock is held. The daemon needs the call's payload no more: it has replied, or is told
 * so.
 */
void mapdev_call_put_slot(struct mapdev_call *call)
{
	struct mapdev_session *s = call->session;

	if (call->slot < 0)
		return;
	__set_bit(call->slot, &s->free_slots);
	call->slot = -1;
	wake_up(&s->room);
	mapdev_payload_put_locked(s);
}

/* Return: the slot, or -ERESTARTSYS for a signal, -EIO. */
static int mapdev_wait_for_slot(struct mapdev_call *call)
{
	struct mapdev_session *s = call->session;
	int slot, ret;

	ret = wait_event_interruptible(s->room, (slot = mapdev_get_slot(s)) != -1);
	if (ret)
		return ret;
	if (slot >= 0)
		call->slot = slot;
	return slot;
}

/*
 * A slot is held for no longer than it takes to copy. Return: 1 if the call has the payload, 0 if
 * user memory is not there; or an error.
 */
static int mapdev_fill_slot(struct mapdev_call *call, const void __user *from, size_t len)
{
	struct mapdev_session *s = call->session;
	int slot = mapdev_wait_for_slot(call);
	unsigned long left;

	if (slot < 0)
		return slot;
	pagefault_disable();
	left = __copy_from_user_inatomic(mapdev_slot(s, slot), from, len);
	pagefault_enable();
	if (!left) {
		call->request.slot = slot;
		return 1;
	}
	spin_lock(&s->lock);
	mapdev_call_put_slot(call);
	spin_unlock(&s->lock);
	return 0;
}

/**
 * mapdev_call_payload - give a call what is in user memory
 * @call: a new call
 * @from: where
 * @len: bytes
 *
 * What does not fit, or can't be read to the end, is left out: the daemon may try itself.
 *
 * Return: 1 if it has the payload, 0 if it has none, -ERESTARTSYS for a signal, -EIO.
 */
int mapdev_call_payload(struct mapdev_call *call, const void __user *from, size_t len)
{
	int tries, ret = 0;

	if (!len || len > MAPDEV_SLOT_SIZE || !access_ok(from, len))
		return 0;
	if (len <= MAPDEV_INLINE)
		ret = !copy_from_user(call->request.data, from, len);
	else
		for (tries = 0; !ret && tries < MAPDEV_COPY_TRIES; tries++) {
			/* It may have to be waited for: not with a slot in hand. */
			if (tries && fault_in_readable(from, len))
				break;
			ret = mapdev_fill_slot(call, from, len);
		}
	if (ret > 0)
		call->request.len = len;
	return ret;
}

/**
 * mapdev_call_kernel_payload - give a call what is in memory of the kernel
 * @call: a new call
 * @from: where
 * @len: bytes, no more than a slot has
 *
 * Return: 0, -ERESTARTSYS for a signal, -EIO.
 */
int mapdev_call_kernel_payload(struct mapdev_call *call, const void *from, size_t len)
{
	int slot;

	call->request.len = len;
	if (len <= MAPDEV_INLINE) {
		memcpy(call->request.data, from, len);
		return 0;
	}
	slot = mapdev_wait_for_slot(call);
	if (slot < 0)
		return slot;
	memcpy(mapdev_slot(call->session, slot), from, len);
	call->request.slot = slot;
	return 0;
}

/* ---- of replies ----------------------------------------------------------------------------- */

/* session->lock is held. The reply's payload is in a slot, which the call has from now on. */
void mapdev_call_take_reply_slot(struct mapdev_call *call, u32 slot)
{
	call->session->payload_users++;
	mapdev_slot_busy(call->session, slot, 1);
}

/* What the reply brought; the daemon may still change it unless it is inline. */
void *mapdev_call_reply_payload(struct mapdev_call *call)
{
	if (call->reply.slot == MAPDEV_NO_SLOT)
		return call->reply.data;
	return mapdev_slot(call->session, call->reply.slot);
}

/* The call has finished, and needs its reply's payload no more. */
void mapdev_call_put_reply_slot(struct mapdev_call *call)
{
	if (call->reply.slot == MAPDEV_NO_SLOT)
		return;
	mapdev_slot_busy(call->session, call->reply.slot, 0);
	call->reply.slot = MAPDEV_NO_SLOT;
	mapdev_payload_put(call->session);
}

/**
 * mapdev_call_copy_out - copy what the reply brought to user memory
 * @call: the call
 * @to: where
 *
 * Memory that has to be waited for is written to when the daemon has its slot back.
 *
 * Return: how many bytes could not be copied.
 */
size_t mapdev_call_copy_out(struct mapdev_call *call, void __user *to)
{
	size_t len = call->reply.len, left, done;
	void *from = mapdev_call_reply_payload(call);
	void *copy;

	if (call->reply.slot == MAPDEV_NO_SLOT)
		return copy_to_user(to, from, len);
	if (!access_ok(to, len))
		return len;
	pagefault_disable();
	left = __copy_to_user_inatomic(to, from, len);
	pagefault_enable();
	if (!left)
		return 0;
	done = len - left;
	copy = kvmalloc(left, GFP_KERNEL_ACCOUNT);
	if (!copy)
		return left;
	memcpy(copy, from + done, left);
	mapdev_call_put_reply_slot(call);
	left = copy_to_user(to + done, copy, left);
	kvfree(copy);
	return left;
}

/**
 * mapdev_call_own_payload - take the reply's payload to where the daemon can't change it any more
 * @call: the call; its payload has that afterwards
 *
 * Return: 0 or ENOMEM.
 */
int mapdev_call_own_payload(struct mapdev_call *call)
{
	if (call->payload)
		return 0;
	call->payload = kvmalloc(max_t(u32, call->reply.len, 1), GFP_KERNEL_ACCOUNT);
	if (!call->payload)
		return -ENOMEM;
	memcpy(call->payload, mapdev_call_reply_payload(call), call->reply.len);
	mapdev_call_put_reply_slot(call);
	return 0;
}
