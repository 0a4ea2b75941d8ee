// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sessions: one for each open control file, and what belongs to it.
 *
 * A session is made at open and belongs to the process that opened. It ends when that process
 * closes its last descriptor, which dying does too, whatever copies of it others have; then its
 * devices are gone, all calls have failed, its tables are empty and its payload is given back. It is
 * freed with the last reference: those of the control file (which VMAs of buffers and payload hold,
 * too) and of devices.
 */
#include <linux/cred.h>
#include <linux/pid_namespace.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "internal.h"

struct mapdev_session *mapdev_session_new(void)
{
	struct mapdev_session *s = kzalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);

	if (!s)
		return NULL;
	s->user = mapdev_user_get(current_uid());
	if (!s->user) {
		kfree(s);
		return NULL;
	}
	kref_init(&s->ref);
	s->owner = get_task_pid(current, PIDTYPE_TGID);
	s->pid_ns = get_pid_ns(task_active_pid_ns(current));
	mutex_init(&s->mutex);
	xa_init_flags(&s->devices, XA_FLAGS_ALLOC1);
	xa_init_flags(&s->buffers, XA_FLAGS_ALLOC1);
	xa_init_flags(&s->objects, XA_FLAGS_ALLOC1);
	xa_init(&s->files);
	spin_lock_init(&s->lock);
	init_waitqueue_head(&s->daemon);
	init_waitqueue_head(&s->room);
	INIT_LIST_HEAD(&s->urgent);
	INIT_LIST_HEAD(&s->normal);
	INIT_LIST_HEAD(&s->commands);
	INIT_DELAYED_WORK(&s->expiry, mapdev_commands_expire);
	hash_init(s->calls);
	s->free_slots = BIT(MAPDEV_REQUEST_SLOTS) - 1;
	atomic_inc(&mapdev_nr_sessions);
	return s;
}

static void mapdev_session_free(struct kref *ref)
{
	struct mapdev_session *s = container_of(ref, struct mapdev_session, ref);

	cancel_delayed_work_sync(&s->expiry);
	put_pid(s->owner);
	put_pid_ns(s->pid_ns);
	xa_destroy(&s->devices);
	xa_destroy(&s->buffers);
	xa_destroy(&s->objects);
	xa_destroy(&s->files);
	mapdev_user_put(s->user);
	kfree(s);
	atomic_dec(&mapdev_nr_sessions);
}

void mapdev_session_put(struct mapdev_session *s)
{
	kref_put(&s->ref, mapdev_session_free);
}

/* The daemon would wait for itself if it used its own devices. */
bool mapdev_is_owner(struct mapdev_session *s)
{
	return task_tgid(current) == s->owner;
}

/*
 * Nobody will fetch what is queued. Calls are not the queue's: their clients find that they
 * failed.
 */
static void mapdev_drop_queue(struct mapdev_session *s, struct list_head *queue)
{
	struct mapdev_item *item, *next;
	LIST_HEAD(items);

	spin_lock(&s->lock);
	list_splice_init(queue, &items);
	list_for_each_entry_safe(item, next, &items, node)
		if (item->call)
			list_del_init(&item->node);
	spin_unlock(&s->lock);

	list_for_each_entry_safe(item, next, &items, node) {
		struct mapdev_notice *notice = container_of(item, struct mapdev_notice, item);

		list_del_init(&item->node);
		notice->done(notice);
	}
}

/**
 * mapdev_session_end - end a session, in whatever state it is; once is enough
 * @s: the session
 *
 * New opens of its devices fail, clients that wait get EIO, what is mapped stays.
 */
void mapdev_session_end(struct mapdev_session *s)
{
	struct mapdev_buffer *buffer;
	struct mapdev_object_entry *object;
	struct mapdev_device *dev;
	unsigned long id;

	mutex_lock(&s->mutex);
	if (s->dead) {
		mutex_unlock(&s->mutex);
		return;
	}
	spin_lock(&s->lock);
	s->dead = true;
	spin_unlock(&s->lock);

	mapdev_fail_calls(s, NULL, NULL, -EIO);
	mapdev_drop_commands(s);
	wake_up_all(&s->room);
	wake_up_poll(&s->daemon, EPOLLERR | EPOLLHUP);
	/* Children before their parents. */
	while (!xa_empty(&s->devices))
		xa_for_each(&s->devices, id, dev)
			mapdev_device_destroy(s, id);
	xa_for_each(&s->objects, id, object)
		mapdev_object_forget(s, id);
	mapdev_drop_queue(s, &s->urgent);
	mapdev_drop_queue(s, &s->normal);
	xa_for_each(&s->buffers, id, buffer)
		mapdev_buffer_free(s, id);
	mutex_unlock(&s->mutex);
	mapdev_payload_free(s);
}
