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

#include "internal.h"

#define MAPDEV_KTHREAD_LIMIT	HZ

static struct kmem_cache *mapdev_calls;

static void mapdev_call_put(struct mapdev_call *call)
{
	if (!refcount_dec_and_test(&call->ref))
		return;
	if (call->slot >= 0) {
		spin_lock(&call->session->lock);
		mapdev_call_put_slot(call);
		spin_unlock(&call->session->lock);
	}
	put_pid(call->task);
	kvfree(call->payload);
	kmem_cache_free(mapdev_calls, call);
}

static void mapdev_call_notice_done(struct mapdev_notice *notice)
{
	mapdev_call_put(container_of(notice, struct mapdev_call, notice));
}

/* What a call comes to that can't be made any more: of a device, or because the daemon has ended. */
static int mapdev_why_gone(const struct mapdev_session *s)
{
	return READ_ONCE(s->dead) ? -EIO : -ENODEV;
}

/**
 * mapdev_call_of_device - begin a call of the current task that is about no file
 * @dev: the device, which is there as long as the call is made
 * @op: MAPDEV_
 *
 * Return: the call, for mapdev_call_end(); or an ERR_PTR: EDEADLK, EIO, ENODEV, ENOMEM.
 */
struct mapdev_call *mapdev_call_of_device(struct mapdev_device *dev, u32 op)
{
	struct mapdev_session *s = dev->session;
	struct mapdev_call *call;

	if (mapdev_is_owner(s))
		return ERR_PTR(-EDEADLK);
	if (READ_ONCE(dev->gone))
		return ERR_PTR(mapdev_why_gone(s));
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
	call->dev = dev;
	call->slot = -1;
	call->reply.slot = MAPDEV_NO_SLOT;
	call->request.op = op;
	call->request.device = dev->id;
	call->request.pid = task_pid_nr_ns(current, s->pid_ns);
	call->request.tgid = task_tgid_nr_ns(current, s->pid_ns);
	call->request.slot = MAPDEV_NO_SLOT;
	return call;
}

/**
 * mapdev_call_new - begin a call of the current task on an open file
 * @mf: the open file
 * @file: the same, for its flags
 * @op: MAPDEV_
 *
 * Return: as mapdev_call_of_device().
 */
struct mapdev_call *mapdev_call_new(struct mapdev_file *mf, struct file *file, u32 op)
{
	struct mapdev_call *call = mapdev_call_of_device(mf->dev, op);

	if (IS_ERR(call))
		return call;
	call->mf = mf;
	call->request.f_flags = file->f_flags;
	call->request.file = mf->id;
	return call;
}

/* ---- waiting -------------------------------------------------------------------------------- */

/*
 * How long a call may be queued, and with the daemon. Who holds an mmap_lock keeps others waiting
 * (khugepaged, ps). A kernel thread (poll of aio is a worker's) can't be killed, and has others to
 * work for.
 */
static long mapdev_limit(const struct mapdev_call *call)
{
	long limit = call->session->timeout;

	if (call->locked)
		limit = mapdev_patience(call->session);
	if (current->flags & PF_KTHREAD)
		limit = min_t(long, limit, MAPDEV_KTHREAD_LIMIT);
	return limit;
}

/* How long the daemon is waited for at most where others wait for that, whatever it asked for. */
long mapdev_patience(const struct mapdev_session *s)
{
	return min_t(long, s->timeout, msecs_to_jiffies(mapdev_timeout_ms()));
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
	long left = mapdev_wait(call, MAPDEV_QUEUED, call->killable, mapdev_limit(call));
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
	return call->killable ? -EINTR : -ERESTARTSYS;
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

	if (mapdev_wait(call, MAPDEV_PARKED, call->killable, MAX_SCHEDULE_TIMEOUT) >= 0)
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
	struct mapdev_command *command;

	spin_lock(&s->lock);
	command = call->command;
	if (command)
		refcount_inc(&command->ref);
	spin_unlock(&s->lock);
	if (!command)
		return;
	mapdev_command(call, command);
	spin_lock(&s->lock);
	/* Else it was given up meanwhile: then the call is in another state, or has another one. */
	if (call->command == command) {
		mapdev_command_put(command);
		call->command = NULL;
		command->ready = true;
		call->state = MAPDEV_TAKEN;
		call->since = jiffies;
		if (s->dead || call->dev->gone) {
			call->reply = (struct mapdev_reply){
				.result = mapdev_why_gone(s), .slot = MAPDEV_NO_SLOT,
			};
			call->state = MAPDEV_FINISHED;
		}
		wake_up_interruptible_sync_poll(&s->daemon, EPOLLIN | EPOLLRDNORM);
	}
	spin_unlock(&s->lock);
	mapdev_command_put(command);
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
	if (s->dead || call->dev->gone || (call->attr_gone && *call->attr_gone)) {
		error = mapdev_why_gone(s);
	} else {
		call->notice.device = call->request.device;
		call->notice.file = call->request.file;
		call->notice.area = call->request.area;
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

/**
 * mapdev_call_end - the end of mapdev_call_new()
 * @call: the call
 */
void mapdev_call_end(struct mapdev_call *call)
{
	if (call->state == MAPDEV_FINISHED)
		mapdev_call_put_reply_slot(call);
	mapdev_call_put(call);
}

/* ---- faults that are answered, but were not made again yet ----------------------------------- */

/**
 * mapdev_call_keep - keep the answer to a fault, for when the current task makes it again
 * @call: the call; the file's from now on, which must be there
 * @outcome: what mapdev_call_run() has returned
 */
void mapdev_call_keep(struct mapdev_call *call, s64 outcome)
{
	struct mapdev_session *s = call->session;

	call->outcome = outcome;
	if (outcome >= 0 && mapdev_call_own_payload(call))
		call->outcome = -ENOMEM;
	mapdev_call_put_reply_slot(call);
	call->task = get_pid(task_pid(current));
	spin_lock(&s->lock);
	hlist_add_head(&call->hash, &call->mf->answers);
	spin_unlock(&s->lock);
}

/**
 * mapdev_call_recall - take the answer to a fault that the current task makes again
 * @mf: the open file
 * @op: of the call
 * @area: the area's id
 * @addr: of the fault
 *
 * What is kept for another one of its faults is forgotten, so that there is one for a task at most.
 *
 * Return: the call, for mapdev_call_end(); or NULL: the daemon has to be asked.
 */
struct mapdev_call *mapdev_call_recall(struct mapdev_file *mf, u32 op, u64 area, u64 addr)
{
	struct mapdev_session *s = mf->dev->session;
	struct mapdev_call *call, *found = NULL;

	if (hlist_empty(&mf->answers))
		return NULL;
	spin_lock(&s->lock);
	hlist_for_each_entry(call, &mf->answers, hash) {
		if (call->task == task_pid(current)) {
			hash_del(&call->hash);
			found = call;
			break;
		}
	}
	spin_unlock(&s->lock);
	if (!found || (found->request.op == op && found->request.area == area &&
		       found->request.arg[0] == addr))
		return found;
	mapdev_call_end(found);
	return NULL;
}

/**
 * mapdev_call_forget - drop what is kept for faults that were not made again
 * @mf: the open file, which nobody uses any more
 */
void mapdev_call_forget(struct mapdev_file *mf)
{
	struct mapdev_call *call;
	struct hlist_node *next;

	hlist_for_each_entry_safe(call, next, &mf->answers, hash) {
		hash_del(&call->hash);
		mapdev_call_end(call);
	}
}

int __init mapdev_call_init(void)
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
