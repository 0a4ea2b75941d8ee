// SPDX-License-Identifier: GPL-2.0-only
/*
 * A call, seen from the client: it is queued, waits, and takes the answer.
 *
 *   QUEUED --> TAKEN <--> PARKED
 *                | ^        |
 *                v |        |
 *              COMMANDED <--+      any --> FINISHED
 *
 * The daemon makes the transitions (queue.c), but for the way back from COMMANDED. What happens
 * exactly once: until a call is taken, a signal takes it out of the queue, and it may be made
 * again. From then on only the daemon's reply ends it, or the client gives up for good (it was
 * killed, or time ran out) and the daemon is told by MAPDEV_GONE.
 *
 * A call is the client's; MAPDEV_GONE, which is part of it, may be delivered when the client has
 * left.
 */
#include <linux/pid_namespace.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

#define MAPDEV_KTHREAD_LIMIT	HZ

static struct kmem_cache *mapdev_calls;

static void mapdev_call_put(struct mapdev_call *call)
{
	if (refcount_dec_and_test(&call->ref))
		kmem_cache_free(mapdev_calls, call);
}

static void mapdev_call_notice_done(struct mapdev_notice *notice)
{
	mapdev_call_put(container_of(notice, struct mapdev_call, notice));
}

/**
 * mapdev_call_new - begin a call of the current task
 * @mf: the open file
 * @file: the same, for its flags
 * @op: MAPDEV_
 *
 * Return: the call, for mapdev_call_end(); or an ERR_PTR: EDEADLK, EIO, ENOMEM.
 */
struct mapdev_call *mapdev_call_new(struct mapdev_file *mf, struct file *file, u32 op)
{
	struct mapdev_session *s = mf->dev->session;
	struct mapdev_call *call;

	if (mapdev_is_owner(s))
		return ERR_PTR(-EDEADLK);
	if (READ_ONCE(mf->dev->gone))
		return ERR_PTR(-EIO);
	call = kmem_cache_alloc(mapdev_calls, GFP_KERNEL);
	if (!call)
		return ERR_PTR(-ENOMEM);
	memset(call, 0, offsetof(struct mapdev_call, request.data));
	INIT_LIST_HEAD(&call->item.node);
	INIT_LIST_HEAD(&call->notice.item.node);
	call->item.call = call;
	call->notice.done = mapdev_call_notice_done;
	refcount_set(&call->ref, 1);
	init_waitqueue_head(&call->wait);
	call->session = s;
	call->dev = mf->dev;
	call->mf = mf;
	call->slot = -1;
	call->reply.slot = MAPDEV_NO_SLOT;
	call->request.op = op;
	call->request.device = mf->dev->id;
	call->request.pid = task_pid_nr_ns(current, s->pid_ns);
	call->request.tgid = task_tgid_nr_ns(current, s->pid_ns);
	call->request.f_flags = file->f_flags;
	call->request.file = mf->id;
	call->request.slot = MAPDEV_NO_SLOT;
	return call;
}

static int mapdev_get_slot(struct mapdev_session *s)
{
	int slot = -1;

	spin_lock(&s->lock);
	if (s->dead) {
		slot = -EIO;
	} else if (s->free_slots) {
		slot = __ffs(s->free_slots);
		__clear_bit(slot, &s->free_slots);
	}
	spin_unlock(&s->lock);
	return slot;
}

static void mapdev_put_slot(struct mapdev_call *call)
{
	struct mapdev_session *s = call->session;

	spin_lock(&s->lock);
	__set_bit(call->slot, &s->free_slots);
	spin_unlock(&s->lock);
	call->slot = -1;
	wake_up(&s->room);
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
	struct mapdev_session *s = call->session;
	void *to = call->request.data;
	int slot, ret;

	if (!len || len > MAPDEV_SLOT_SIZE)
		return 0;
	if (len > MAPDEV_INLINE) {
		ret = wait_event_interruptible(s->room, (slot = mapdev_get_slot(s)) != -1);
		if (ret)
			return ret;
		if (slot < 0)
			return slot;
		call->slot = slot;
		to = mapdev_slot(s, slot);
	}
	if (copy_from_user(to, from, len)) {
		if (call->slot >= 0)
			mapdev_put_slot(call);
		return 0;
	}
	call->request.len = len;
	if (call->slot >= 0)
		call->request.slot = call->slot;
	return 1;
}

/* ---- waiting -------------------------------------------------------------------------------- */

/*
 * How long a call may be queued, and with the daemon. A kernel thread (poll of aio is a worker's)
 * can't be killed, and has others to work for.
 */
static long mapdev_limit(const struct mapdev_call *call)
{
	long limit = call->session->timeout;

	if (current->flags & PF_KTHREAD)
		limit = min_t(long, limit, MAPDEV_KTHREAD_LIMIT);
	return limit;
}

/* Until it is in another state. Return: what is left of the time; 0: nothing; < 0: a signal. */
static long mapdev_wait(struct mapdev_call *call, enum mapdev_state old, bool killable,
			long timeout)
{
	if (killable)
		return wait_event_killable_timeout(call->wait, READ_ONCE(call->state) != old,
						   timeout);
	return wait_event_interruptible_timeout(call->wait, READ_ONCE(call->state) != old, timeout);
}

/*
 * The daemon does not know of it: as if it had not been made. To take it, the daemon need not wake
 * us: we look when there is a signal.
 */
static s64 mapdev_wait_queued(struct mapdev_call *call)
{
	struct mapdev_session *s = call->session;
	long left = mapdev_wait(call, MAPDEV_QUEUED, call->mm, mapdev_limit(call));
	bool out;

	if (left > 0)
		return 0;
	spin_lock(&s->lock);
	out = call->state == MAPDEV_QUEUED;
	if (out)
		list_del_init(&call->item.node);
	spin_unlock(&s->lock);
	if (!out)
		return 0;
	if (!left)
		return -ETIMEDOUT;
	return call->mm ? -EINTR : -ERESTARTSYS;
}

/* The client has waited for the daemon for too long, or has been killed: it leaves. */
static s64 mapdev_leave(struct mapdev_call *call, enum mapdev_state state, int error)
{
	struct mapdev_session *s = call->session;
	struct mapdev_notice *notice = &call->notice;

	spin_lock(&s->lock);
	if (call->state != state) {
		error = 0;
	} else {
		hash_del(&call->hash);
		notice->op = MAPDEV_GONE;
		/* Else it is queued as INTERRUPT, and has its reference. */
		if (list_empty(&notice->item.node)) {
			refcount_inc(&call->ref);
			mapdev_notify_locked(s, notice);
		}
	}
	spin_unlock(&s->lock);
	return error;
}

static s64 mapdev_wait_taken(struct mapdev_call *call)
{
	long left = mapdev_limit(call);

	if (left != MAX_SCHEDULE_TIMEOUT)
		left = max_t(long, left - (long)(jiffies - call->since), 0);
	left = mapdev_wait(call, MAPDEV_TAKEN, true, left);
	if (left > 0)
		return 0;
	return mapdev_leave(call, MAPDEV_TAKEN, left ? -EINTR : -ETIMEDOUT);
}

static s64 mapdev_wait_parked(struct mapdev_call *call)
{
	struct mapdev_session *s = call->session;

	if (mapdev_wait(call, MAPDEV_PARKED, call->mm, MAX_SCHEDULE_TIMEOUT) >= 0)
		return 0;
	if (fatal_signal_pending(current))
		return mapdev_leave(call, MAPDEV_PARKED, -EINTR);
	spin_lock(&s->lock);
	if (call->state == MAPDEV_PARKED) {
		call->state = MAPDEV_TAKEN;
		call->since = jiffies;
		call->interrupted = true;
		call->notice.op = MAPDEV_INTERRUPT;
		refcount_inc(&call->ref);
		mapdev_notify_locked(s, &call->notice);
	}
	spin_unlock(&s->lock);
	return 0;
}

static void mapdev_do_command(struct mapdev_call *call)
{
	struct mapdev_session *s = call->session;

	mapdev_command(call);
	spin_lock(&s->lock);
	s->command.ready = true;
	call->state = MAPDEV_TAKEN;
	call->since = jiffies;
	if (s->dead || call->dev->gone) {
		call->reply = (struct mapdev_reply){ .result = -EIO, .slot = MAPDEV_NO_SLOT };
		call->state = MAPDEV_FINISHED;
	}
	wake_up_interruptible_sync_poll(&s->daemon, EPOLLIN | EPOLLRDNORM);
	spin_unlock(&s->lock);
}

/* Under the lock, so that what goes with the state is there. */
static enum mapdev_state mapdev_call_state(struct mapdev_call *call)
{
	enum mapdev_state state;

	spin_lock(&call->session->lock);
	state = call->state;
	spin_unlock(&call->session->lock);
	return state;
}

static s64 mapdev_wait_finished(struct mapdev_call *call)
{
	s64 error = 0;

	while (!error) {
		switch (mapdev_call_state(call)) {
		case MAPDEV_QUEUED:
			error = mapdev_wait_queued(call);
			break;
		case MAPDEV_TAKEN:
			error = mapdev_wait_taken(call);
			break;
		case MAPDEV_PARKED:
			error = mapdev_wait_parked(call);
			break;
		case MAPDEV_COMMANDED:
			mapdev_do_command(call);
			break;
		case MAPDEV_FINISHED:
			return 0;
		}
	}
	return error;
}

static int mapdev_call_queue(struct mapdev_call *call)
{
	struct mapdev_session *s = call->session;
	int error = 0;

	spin_lock(&s->lock);
	if (s->dead || call->dev->gone) {
		error = -EIO;
	} else {
		call->notice.device = call->request.device;
		call->notice.file = call->request.file;
		call->request.id = ++s->next_call;
		call->notice.arg[0] = call->request.id;
		hash_add(s->calls, &call->hash, call->request.id);
		mapdev_enqueue(s, &call->item, call->request.op);
	}
	spin_unlock(&s->lock);
	return error;
}

/**
 * mapdev_call_run - have the daemon carry out a call, and wait for it
 * @call: the call
 *
 * Return: the result, whose meaning depends on the operation; or -errno, from the daemon, or
 * because the call could not be made: EIO, ETIMEDOUT, ERESTARTSYS, EINTR.
 */
s64 mapdev_call_run(struct mapdev_call *call)
{
	struct mapdev_session *s = call->session;
	s64 error = mapdev_call_queue(call);

	if (error)
		return error;
	error = mapdev_wait_finished(call);
	/* The lock orders our reading of the reply, too. */
	spin_lock(&s->lock);
	hash_del(&call->hash);
	spin_unlock(&s->lock);
	if (error)
		return error;
	if (call->reply.result == -ERESTARTSYS && !signal_pending(current))
		return -EINTR;
	return call->reply.result;
}

/* What the reply brought; the daemon may still change it unless it is inline. */
void *mapdev_call_reply_payload(struct mapdev_call *call)
{
	if (call->reply.slot == MAPDEV_NO_SLOT)
		return call->reply.data;
	return mapdev_slot(call->session, call->reply.slot);
}

/**
 * mapdev_call_end - the end of mapdev_call_new()
 * @call: the call
 */
void mapdev_call_end(struct mapdev_call *call)
{
	if (call->slot >= 0)
		mapdev_put_slot(call);
	if (call->state == MAPDEV_FINISHED && call->reply.slot != MAPDEV_NO_SLOT)
		mapdev_slot_busy(call->session, call->reply.slot, 0);
	mapdev_call_put(call);
}

int mapdev_call_init(void)
{
	/* Not KMEM_CACHE: payload is copied from and to it. */
	mapdev_calls = kmem_cache_create_usercopy("mapdev_call", sizeof(struct mapdev_call), 0,
						  SLAB_ACCOUNT,
						  offsetof(struct mapdev_call, request),
						  sizeof(struct mapdev_call) -
						  offsetof(struct mapdev_call, request), NULL);
	return mapdev_calls ? 0 : -ENOMEM;
}

void mapdev_call_exit(void)
{
	kmem_cache_destroy(mapdev_calls);
}
