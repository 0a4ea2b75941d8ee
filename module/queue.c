// SPDX-License-Identifier: GPL-2.0-only
/*
 * What waits for the daemon, and MAPDEV_IOC_NEXT, by which it replies and fetches.
 *
 * Items are in one of two queues, numbered through, so that MAPDEV_NEXT_URGENT need not search;
 * both together are first in, first out. A call belongs to the client's task, which takes it out
 * of the queue and the table of calls before it goes. So whoever finds a call there, under
 * session->lock, may use it as long as the lock is held. A notice belongs to the queue while it is
 * in it.
 */
#include <linux/pid_namespace.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "internal.h"

static bool mapdev_op_is_urgent(u32 op)
{
	return (op >= MAPDEV_MMAP && op <= MAPDEV_ACCESS) ||
	       (op >= MAPDEV_VMA_OPEN && op <= MAPDEV_VMA_ABORT);
}

/*
 * session->lock is held. The daemon sleeps only when it has nothing to do: stay on this processor.
 */
void mapdev_enqueue(struct mapdev_session *s, struct mapdev_item *item, u32 op)
{
	struct list_head *queue = mapdev_op_is_urgent(op) ? &s->urgent : &s->normal;

	item->seq = s->next_seq++;
	list_add_tail(&item->node, queue);
	wake_up_interruptible_sync_poll(&s->daemon, EPOLLIN | EPOLLRDNORM);
}

/* session->lock is held. What a notice was about to say is not true any more. */
static void mapdev_withdraw(struct mapdev_notice *notice)
{
	list_del_init(&notice->item.node);
}

/* session->lock is held. */
void mapdev_notify_locked(struct mapdev_session *s, struct mapdev_notice *notice)
{
	notice->pid = task_pid_nr_ns(current, s->pid_ns);
	notice->tgid = task_tgid_nr_ns(current, s->pid_ns);
	mapdev_enqueue(s, &notice->item, notice->op);
}

/**
 * mapdev_notify - tell the daemon something
 * @s: the session
 * @notice: part of what it is about; its done() is called afterwards
 */
void mapdev_notify(struct mapdev_session *s, struct mapdev_notice *notice)
{
	bool dead;

	spin_lock(&s->lock);
	dead = s->dead;
	if (!dead)
		mapdev_notify_locked(s, notice);
	spin_unlock(&s->lock);
	if (dead)
		notice->done(notice);
}

/* session->lock is held. */
static struct mapdev_call *mapdev_call_find(struct mapdev_session *s, u64 id)
{
	struct mapdev_call *call;

	hash_for_each_possible(s->calls, call, hash, id)
		if (call->request.id == id && call->state != MAPDEV_QUEUED)
			return call;
	return NULL;
}

bool mapdev_call_alive(struct mapdev_session *s, u64 id)
{
	bool alive;

	spin_lock(&s->lock);
	alive = mapdev_call_find(s, id);
	spin_unlock(&s->lock);
	return alive;
}

void mapdev_kick(struct mapdev_session *s)
{
	spin_lock(&s->lock);
	s->kicked = true;
	wake_up_interruptible(&s->daemon);
	spin_unlock(&s->lock);
}

/* ---- commands ------------------------------------------------------------------------------- */

/* session->lock is held. It is no more: its result was fetched, or it is given up. */
static void mapdev_command_del(struct mapdev_command *command)
{
	list_del_init(&command->node);
	mapdev_command_put(command);
}

/* session->lock is held. The one of a call, if there is one. */
static struct mapdev_command *mapdev_command_find(struct mapdev_session *s, u64 id)
{
	struct mapdev_command *command;

	list_for_each_entry(command, &s->commands, node)
		if (command->id == id)
			return command;
	return NULL;
}

/* session->lock is held. The client may still be at it, and will find that nobody wants it. */
static void mapdev_give_up(struct mapdev_session *s, struct mapdev_call *call)
{
	struct mapdev_command *command = call->command;

	call->command = NULL;
	call->state = MAPDEV_TAKEN;
	call->since = jiffies;
	if (!list_empty(&command->node))
		mapdev_command_del(command);
	mapdev_command_put(command);
}

static bool mapdev_command_expired(const struct mapdev_session *s,
				   const struct mapdev_command *command)
{
	return time_after_eq(jiffies, command->since + mapdev_patience(s));
}

/* session->lock is held. The first that the daemon can be told the result of. */
static struct mapdev_command *mapdev_command_done(struct mapdev_session *s, u64 only)
{
	struct mapdev_command *command;

	list_for_each_entry(command, &s->commands, node)
		if ((!only || command->id == only) &&
		    (command->ready || mapdev_command_expired(s, command)))
			return command;
	return NULL;
}

/* session->lock is held. */
bool mapdev_has_result(struct mapdev_session *s, u64 only)
{
	return mapdev_command_done(s, only);
}

/* The daemon finds that time has run out for a client's copying. */
void mapdev_commands_expire(struct work_struct *work)
{
	struct mapdev_session *s = container_of(work, struct mapdev_session, expiry.work);
	struct mapdev_command *command;

	spin_lock(&s->lock);
	command = list_first_entry_or_null(&s->commands, struct mapdev_command, node);
	if (command && mapdev_has_result(s, 0))
		wake_up_interruptible_poll(&s->daemon, EPOLLIN | EPOLLRDNORM);
	if (command)
		schedule_delayed_work(&s->expiry, clamp_t(long, command->since +
				      mapdev_patience(s) - jiffies, 1, HZ));
	spin_unlock(&s->lock);
}

/* Nobody will fetch their results. */
void mapdev_drop_commands(struct mapdev_session *s)
{
	struct mapdev_command *command, *next;

	spin_lock(&s->lock);
	list_for_each_entry_safe(command, next, &s->commands, node)
		mapdev_command_del(command);
	spin_unlock(&s->lock);
}

/* ---- replies -------------------------------------------------------------------------------- */

static bool mapdev_is_errno(s64 result)
{
	/* Beyond 511 are the kernel's own: some of them would restart calls, or worse. */
	return result < 0 && (result > -ERESTARTSYS || result == -ERESTARTSYS);
}

static bool mapdev_result_valid(const struct mapdev_call *call, const struct mapdev_reply *reply)
{
	const struct mapdev_request *request = &call->request;
	s64 result = reply->result;

	if (result == -ERESTARTSYS && !call->interrupted)
		return false;
	switch (request->op) {
	case MAPDEV_READ:
		if (reply->len)
			return result == reply->len && result <= request->arg[0];
		fallthrough;
	case MAPDEV_WRITE:
		return mapdev_is_errno(result) || (result >= 0 && result <= request->arg[0]);
	case MAPDEV_ATTR_SHOW:
		return mapdev_is_errno(result) || (result == reply->len && result < PAGE_SIZE);
	case MAPDEV_BIN_READ:
		return mapdev_is_errno(result) ||
		       (result == reply->len && result <= request->arg[1]);
	case MAPDEV_ATTR_STORE:
	case MAPDEV_BIN_WRITE:
		return mapdev_is_errno(result) || (result >= 0 && result <= request->arg[1]);
	case MAPDEV_ACCESS:
		if (!request->arg[2] && result != reply->len)
			return mapdev_is_errno(result);
		return mapdev_is_errno(result) || (result >= 0 && result <= request->arg[1]);
	case MAPDEV_IOCTL:
	case MAPDEV_LLSEEK:
		return mapdev_is_errno(result) || result >= 0;
	case MAPDEV_POLL:
	case MAPDEV_FAULT:
	case MAPDEV_PAGE_MKWRITE:
	case MAPDEV_PFN_MKWRITE:
		return (result >= 0 && result <= U16_MAX) || result == -ERESTARTSYS;
	default:
		return !result || mapdev_is_errno(result);
	}
}

static bool mapdev_reply_is_command(const struct mapdev_reply *reply)
{
	return reply->kind >= MAPDEV_COPY_FROM && reply->kind <= MAPDEV_INSTALL;
}

static bool mapdev_reply_valid(const struct mapdev_call *call, const struct mapdev_reply *reply)
{
	if (reply->flags & ~(MAPDEV_REPLY_POS | MAPDEV_REPLY_NONSEEKABLE | MAPDEV_REPLY_STREAM |
			     MAPDEV_REPLY_SHOW | MAPDEV_REPLY_ASYNC))
		return false;
	if (reply->flags & MAPDEV_REPLY_SHOW ? reply->kind != MAPDEV_REPLY_DONE : reply->mask)
		return false;
	if (!call->mf && (reply->flags || mapdev_reply_is_command(reply)))
		return false;
	if (reply->kind == MAPDEV_REPLY_WAIT)
		return true;
	if (mapdev_reply_is_command(reply))
		return reply->len <= MAPDEV_SLOT_SIZE || reply->kind == MAPDEV_INSTALL;
	if (reply->kind != MAPDEV_REPLY_DONE)
		return false;
	if (reply->slot == MAPDEV_NO_SLOT) {
		if (reply->len > MAPDEV_INLINE)
			return false;
	} else if (reply->slot < MAPDEV_REQUEST_SLOTS || reply->slot >= MAPDEV_COMMAND_SLOT ||
		   reply->len > MAPDEV_SLOT_SIZE) {
		return false;
	}
	return mapdev_result_valid(call, reply);
}

/* session->lock is held. A call has its final reply: no INTERRUPT is of interest any more. */
static void mapdev_finish(struct mapdev_session *s, struct mapdev_call *call)
{
	call->state = MAPDEV_FINISHED;
	call->unmaps = call->dev->unmaps;
	if (!list_empty(&call->notice.item.node)) {
		mapdev_withdraw(&call->notice);
		refcount_dec(&call->ref);	/* not the last: the client has not left */
	}
}

/* session->lock is held. */
static void mapdev_fail(struct mapdev_session *s, struct mapdev_call *call, int error)
{
	call->reply = (struct mapdev_reply){ .result = error, .slot = MAPDEV_NO_SLOT };
	mapdev_finish(s, call);
	wake_up(&call->wait);
}

/**
 * mapdev_fail_calls - make calls fail
 * @s: the session
 * @dev: only those of this device; NULL: all
 * @attr: only those of this attribute of it; NULL: all
 * @error: what they come to
 *
 * A call whose client is carrying out a command fails when that is done.
 */
void mapdev_fail_calls(struct mapdev_session *s, struct mapdev_device *dev,
		       struct mapdev_attr *attr, int error)
{
	struct mapdev_call *call;
	int bucket;

	spin_lock(&s->lock);
	hash_for_each(s->calls, bucket, call, hash) {
		if ((dev && call->dev != dev) || (attr && call->attr != attr) ||
		    call->state == MAPDEV_FINISHED || call->state == MAPDEV_COMMANDED)
			continue;
		list_del_init(&call->item.node);
		mapdev_fail(s, call, error);
	}
	spin_unlock(&s->lock);
}

/*
 * May it wait without limit? Not one that keeps others from an mm. Not a poll: ->poll does not
 * wait, and who calls it may be a kernel thread, which a client that is killed has to wait for.
 */
static bool mapdev_may_park(const struct mapdev_call *call)
{
	return !call->locked && call->request.op != MAPDEV_POLL;
}

/* session->lock is held. */
static int mapdev_accept(struct mapdev_session *s, struct mapdev_call *call,
			 const struct mapdev_reply *reply, struct mapdev_command *command)
{
	switch (reply->kind) {
	case MAPDEV_REPLY_WAIT:
		if (!mapdev_may_park(call))
			return -EOPNOTSUPP;
		/*
		 * After an INTERRUPT, which the daemon has not seen yet, it need not be told
		 * again.
		 */
		if (!call->interrupted)
			call->state = MAPDEV_PARKED;
		return 0;
	case MAPDEV_REPLY_DONE:
		if (reply->flags & MAPDEV_REPLY_SHOW)
			WRITE_ONCE(call->mf->shown, reply->mask & MAPDEV_POLL_EVENTS);
		mapdev_finish(s, call);
		if (reply->slot != MAPDEV_NO_SLOT)
			mapdev_call_take_reply_slot(call, reply->slot);
		break;
	default:
		if (mapdev_command_find(s, reply->id))
			return -EBUSY;
		call->state = MAPDEV_COMMANDED;
		call->command = command;
		command->since = jiffies;
		refcount_inc(&command->ref);	/* the list's */
		refcount_inc(&command->ref);	/* the call's */
		list_add_tail(&command->node, &s->commands);
		schedule_delayed_work(&s->expiry, mapdev_patience(s));
		return 0;
	}
	memcpy(&call->reply, reply, MAPDEV_REPLY_HEAD);
	if (reply->slot == MAPDEV_NO_SLOT && reply->kind == MAPDEV_REPLY_DONE)
		memcpy(call->reply.data, reply->data, reply->len);
	return 0;
}

/* session->lock is held. */
static int mapdev_reply_to(struct mapdev_session *s, struct mapdev_call *call,
			   const struct mapdev_reply *reply, struct mapdev_command *command)
{
	int error;

	/* A result without that of the command: the daemon does not want to wait for it. */
	if (call->state == MAPDEV_COMMANDED && reply->kind == MAPDEV_REPLY_DONE)
		mapdev_give_up(s, call);
	if (call->state != MAPDEV_TAKEN && call->state != MAPDEV_PARKED)
		return -ENOENT;
	if (mapdev_reply_valid(call, reply)) {
		error = mapdev_accept(s, call, reply, command);
	} else {
		mapdev_fail(s, call, -EIO);
		error = -EINVAL;
	}
	if (!error)
		mapdev_call_put_slot(call);
	__wake_up_sync_key(&call->wait, TASK_NORMAL, NULL);
	return error;
}

static int mapdev_reply(struct mapdev_session *s, const struct mapdev_reply *reply)
{
	struct mapdev_command *command = NULL;
	struct mapdev_call *call;
	int error = -ENOENT;

	if (mapdev_reply_is_command(reply) &&
	    (reply->len <= MAPDEV_SLOT_SIZE || reply->kind == MAPDEV_INSTALL)) {
		command = mapdev_command_new(s, reply);
		if (!command)
			return -ENOMEM;
	}
	spin_lock(&s->lock);
	call = mapdev_call_find(s, reply->id);
	if (call)
		error = mapdev_reply_to(s, call, reply, command);
	spin_unlock(&s->lock);
	if (command)
		mapdev_command_put(command);
	return error;
}

/* ---- the loop ------------------------------------------------------------------------------- */

/* What a request is made of, to be done with when the lock is released. */
struct mapdev_taken {
	struct mapdev_notice *notice;
	struct mapdev_command *command;
};

/* session->lock is held. The queue to take from next, if any. */
static struct list_head *mapdev_next_queue(struct mapdev_session *s, u32 flags)
{
	struct mapdev_item *urgent, *normal;

	urgent = list_first_entry_or_null(&s->urgent, struct mapdev_item, node);
	normal = list_first_entry_or_null(&s->normal, struct mapdev_item, node);
	if (flags & MAPDEV_NEXT_URGENT)
		normal = NULL;
	if (!urgent && !normal)
		return NULL;
	if (!normal || (urgent && urgent->seq < normal->seq))
		return &s->urgent;
	return &s->normal;
}

static void mapdev_fill_notice(struct mapdev_request *request, const struct mapdev_notice *notice)
{
	request->op = notice->op;
	request->device = notice->device;
	request->pid = notice->pid;
	request->tgid = notice->tgid;
	request->file = notice->file;
	request->area = notice->area;
	request->vma = notice->vma;
	request->arg[0] = notice->arg[0];
	request->arg[1] = notice->arg[1];
}

/* session->lock is held. The command is the caller's from now on. */
static void mapdev_fill_result(struct mapdev_session *s, struct mapdev_request *request,
			       struct mapdev_command *command)
{
	struct mapdev_call *call = mapdev_call_find(s, command->id);

	request->op = MAPDEV_RESULT;
	request->id = command->id;
	refcount_inc(&command->ref);
	if (command->ready) {
		request->arg[0] = command->result;
		request->arg[1] = command->arg[0];
		request->arg[2] = command->arg[1];
		request->len = command->len;
		mapdev_command_del(command);
	} else {
		request->arg[0] = -ETIMEDOUT;
		if (call && call->command == command)
			mapdev_give_up(s, call);
		else
			mapdev_command_del(command);
	}
	if (request->len > MAPDEV_INLINE)
		request->slot = MAPDEV_COMMAND_SLOT;
}

/* Payload of a result goes to where the daemon has it, in the daemon's task. */
static void mapdev_take_result(struct mapdev_session *s, struct mapdev_request *request,
			       struct mapdev_command *command)
{
	if (request->len > MAPDEV_INLINE)
		mapdev_command_slot_write(s, command->data, request->len);
	else if (request->len)
		memcpy(request->data, command->data, request->len);
	mapdev_command_put(command);
}

/* session->lock is held. */
static void mapdev_take_call(struct mapdev_request *request, struct mapdev_call *call)
{
	size_t size = MAPDEV_REQUEST_HEAD;

	if (call->request.slot == MAPDEV_NO_SLOT)
		size += call->request.len;
	memcpy(request, &call->request, size);
	call->state = MAPDEV_TAKEN;
	call->since = jiffies;
}

/*
 * session->lock is held. True: the daemon need not wait, for there is a request, or there is a
 * reason to return without one.
 */
static bool mapdev_take(struct mapdev_session *s, struct mapdev_next *next,
			struct mapdev_taken *taken)
{
	struct mapdev_command *command = NULL;
	struct list_head *queue;
	struct mapdev_item *item;

	if (!(next->flags & MAPDEV_NEXT_URGENT) || next->only)
		command = mapdev_command_done(s, next->only);
	if (command) {
		mapdev_fill_result(s, &next->request, command);
		taken->command = command;
		return true;
	}
	queue = mapdev_next_queue(s, next->flags);
	if (queue) {
		item = list_first_entry(queue, struct mapdev_item, node);
		list_del_init(&item->node);
		if (item->call) {
			mapdev_take_call(&next->request, item->call);
		} else {
			taken->notice = container_of(item, struct mapdev_notice, item);
			mapdev_fill_notice(&next->request, taken->notice);
		}
		return true;
	}
	if (s->kicked) {
		s->kicked = false;
		return true;
	}
	/* The result that it waits for will never come. */
	return next->only && !mapdev_command_find(s, next->only);
}

static bool mapdev_take_or_dead(struct mapdev_session *s, struct mapdev_next *next,
				struct mapdev_taken *taken)
{
	bool done;

	spin_lock(&s->lock);
	done = s->dead || mapdev_take(s, next, taken);
	spin_unlock(&s->lock);
	return done;
}

static long mapdev_fetch(struct mapdev_session *s, struct mapdev_next *next,
			 struct mapdev_taken *taken)
{
	long timeout = next->timeout_ms < 0 ? MAX_SCHEDULE_TIMEOUT :
					      msecs_to_jiffies(next->timeout_ms);
	long left;

	if (mapdev_take_or_dead(s, next, taken) || next->flags & MAPDEV_NEXT_NOWAIT)
		return 0;
	left = wait_event_interruptible_timeout(s->daemon, mapdev_take_or_dead(s, next, taken),
						timeout);
	/* Not ERESTARTSYS: what this call replied to must not be replied to again. */
	return left < 0 ? -EINTR : 0;
}

static int mapdev_read_next(struct mapdev_next *next, struct mapdev_next __user *arg)
{
	if (copy_from_user(next, arg, offsetof(struct mapdev_next, reply.data)))
		return -EFAULT;
	if (next->flags & ~(MAPDEV_NEXT_NOWAIT | MAPDEV_NEXT_URGENT | MAPDEV_NEXT_REPLY) ||
	    next->timeout_ms < -1 || (next->only && !(next->flags & MAPDEV_NEXT_URGENT)))
		return -EINVAL;
	if (next->reply.id && next->reply.slot == MAPDEV_NO_SLOT && next->reply.len &&
	    next->reply.len <= MAPDEV_INLINE &&
	    copy_from_user(next->reply.data, arg->reply.data, next->reply.len))
		return -EFAULT;
	memset(&next->request, 0, MAPDEV_REQUEST_HEAD);
	next->request.slot = MAPDEV_NO_SLOT;
	return 0;
}

static int mapdev_write_request(struct mapdev_session *s, const struct mapdev_request *request,
				struct mapdev_request __user *arg)
{
	size_t size = MAPDEV_REQUEST_HEAD;
	struct mapdev_call *call;

	if (request->slot == MAPDEV_NO_SLOT)
		size += request->len;
	if (!copy_to_user(arg, request, size))
		return 0;
	/* The daemon will never know of it. */
	spin_lock(&s->lock);
	call = mapdev_call_find(s, request->id);
	if (call && call->state == MAPDEV_TAKEN)
		mapdev_fail(s, call, -EIO);
	spin_unlock(&s->lock);
	return -EFAULT;
}

/**
 * mapdev_next - deliver a reply, fetch a request
 * @s: the session
 * @arg: the daemon's
 *
 * What was replied to is gone from the daemon's struct, so that it may repeat the ioctl after
 * EINTR.
 *
 * Return: 0 or an error: EFAULT, EINVAL, EINTR, ENODEV (the session has ended).
 */
long mapdev_next(struct mapdev_session *s, struct mapdev_next __user *arg)
{
	struct mapdev_taken taken = {};
	struct mapdev_next next;
	int error = 0;
	long ret;

	ret = mapdev_read_next(&next, arg);
	if (ret)
		return ret;
	if (next.reply.id)
		error = mapdev_reply(s, &next.reply);
	if (put_user(0, &arg->reply.id) || put_user(-error, &arg->reply.error))
		return -EFAULT;
	if (next.flags & MAPDEV_NEXT_REPLY)
		return 0;

	ret = mapdev_fetch(s, &next, &taken);
	if (ret)
		return ret;
	if (taken.notice)
		taken.notice->done(taken.notice);
	if (taken.command)
		mapdev_take_result(s, &next.request, taken.command);
	if (READ_ONCE(s->dead))
		return -ENODEV;
	return mapdev_write_request(s, &next.request, &arg->request);
}
