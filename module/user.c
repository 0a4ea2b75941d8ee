// SPDX-License-Identifier: GPL-2.0-only
/*
 * Users: who has how many pages of buffers, and how many devices, in all of its sessions.
 *
 * A user is in the table as long as it has a session; a buffer or a device keeps its session, so that
 * what is counted here is given back before. The table has a lock of its own, below all others.
 */
#include <linux/cred.h>
#include <linux/hashtable.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uidgid.h>

#include "internal.h"

static DEFINE_HASHTABLE(mapdev_users, 4);
static DEFINE_SPINLOCK(mapdev_users_lock);

static struct mapdev_user *mapdev_user_find(kuid_t uid)
{
	struct mapdev_user *user;

	hash_for_each_possible(mapdev_users, user, node, __kuid_val(uid))
		if (uid_eq(user->uid, uid))
			return user;
	return NULL;
}

/**
 * mapdev_user_get - find a user, or begin to count for it
 * @uid: who it is
 *
 * Return: the user, for mapdev_user_put(); or NULL for want of memory.
 */
struct mapdev_user *mapdev_user_get(kuid_t uid)
{
	struct mapdev_user *new = kzalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);
	struct mapdev_user *user;

	if (!new)
		return NULL;
	spin_lock(&mapdev_users_lock);
	user = mapdev_user_find(uid);
	if (user) {
		refcount_inc(&user->ref);
	} else {
		refcount_set(&new->ref, 1);
		new->uid = uid;
		hash_add(mapdev_users, &new->node, __kuid_val(uid));
		swap(user, new);
	}
	spin_unlock(&mapdev_users_lock);
	kfree(new);
	return user;
}

/* One more device, or what devices belong to; 0 or EDQUOT. */
int mapdev_user_add_device(struct mapdev_user *user)
{
	if (atomic_inc_return(&user->devices) <= mapdev_max_devices())
		return 0;
	atomic_dec(&user->devices);
	return -EDQUOT;
}

void mapdev_user_remove_device(struct mapdev_user *user)
{
	atomic_dec(&user->devices);
}

void mapdev_user_put(struct mapdev_user *user)
{
	bool last;

	spin_lock(&mapdev_users_lock);
	last = refcount_dec_and_test(&user->ref);
	if (last)
		hash_del(&user->node);
	spin_unlock(&mapdev_users_lock);
	if (last)
		kfree(user);
}
