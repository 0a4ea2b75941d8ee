// SPDX-License-Identifier: GPL-2.0-only
/*
 * The control device: a session for each open file, its ioctls, and the mappings of payload and
 * buffers. It keeps no state of its own. Arguments are copied here, before any lock is taken and
 * after it was released.
 */
#include <linux/fdtable.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "internal.h"

static int mapdev_control_open(struct inode *inode, struct file *file)
{
	file->private_data = mapdev_session_new();
	return file->private_data ? 0 : -ENOMEM;
}

static int mapdev_is_file(const void *file, struct file *other, unsigned int fd)
{
	return other == file;
}

/*
 * A descriptor is closed, maybe because its process dies: then it has no table of them any more.
 * With the last of the daemon's own the session ends. Those that a fork made don't count, nor do
 * mappings.
 */
static int mapdev_control_flush(struct file *file, fl_owner_t id)
{
	struct mapdev_session *s = file->private_data;

	if (mapdev_is_owner(s) && !iterate_fd(current->files, 0, mapdev_is_file, file))
		mapdev_session_end(s);
	return 0;
}

static int mapdev_control_release(struct inode *inode, struct file *file)
{
	mapdev_session_end(file->private_data);
	mapdev_session_put(file->private_data);
	return 0;
}

static int mapdev_begin(struct mapdev_session *s, struct mapdev_init *init)
{
	u32 ms = init->timeout_ms ?: mapdev_timeout_ms();
	int ret;

	if (s->ready)
		return -EBUSY;
	ret = mapdev_payload_alloc(s);
	if (ret)
		return ret;
	s->features = init->features & mapdev_features();
	s->timeout = ms == U32_MAX ? MAX_SCHEDULE_TIMEOUT : msecs_to_jiffies(ms);
	s->max_pages = mapdev_max_pages();
	/* Who sees this without the mutex sees the rest, too. */
	smp_store_release(&s->ready, true);

	init->features = s->features;
	init->timeout_ms = ms;
	init->slot_size = MAPDEV_SLOT_SIZE;
	init->nr_slots = MAPDEV_REQUEST_SLOTS;
	init->nr_reply_slots = MAPDEV_REPLY_SLOTS;
	init->payload_offset = 0;
	init->payload_size = MAPDEV_PAYLOAD_SIZE;
	init->max_pages = s->max_pages;
	return 0;
}

static int mapdev_init(struct mapdev_session *s, struct mapdev_init *init)
{
	u32 abi = init->abi;
	int ret;

	if (init->size != sizeof(*init) || memchr_inv(init->reserved, 0, sizeof(init->reserved)))
		return -EINVAL;
	init->abi = MAPDEV_ABI;
	if (abi >> 16 != MAPDEV_ABI_MAJOR)
		return -EPROTONOSUPPORT;
	mutex_lock(&s->mutex);
	ret = s->dead ? -ENODEV : mapdev_begin(s, init);
	mutex_unlock(&s->mutex);
	return ret;
}

/* What changes or reads the session's tables. */
static int mapdev_manage(struct mapdev_session *s, unsigned int cmd, void *arg)
{
	struct mapdev_destroy *destroy = arg;
	struct mapdev_free *free = arg;

	switch (cmd) {
	case MAPDEV_IOC_DESTROY:
		return destroy->reserved ? -EINVAL : mapdev_device_destroy(s, destroy->id);
	case MAPDEV_IOC_OBJECT:
		return mapdev_object_create(s, arg);
	case MAPDEV_IOC_FORGET:
		return destroy->reserved ? -EINVAL : mapdev_object_forget(s, destroy->id);
	case MAPDEV_IOC_ATTR:
		return mapdev_attr_change(s, arg);
	case MAPDEV_IOC_ALLOC:
		return mapdev_buffer_alloc(s, arg);
	case MAPDEV_IOC_FREE:
		return free->reserved ? -EINVAL : mapdev_buffer_free(s, free->id);
	case MAPDEV_IOC_PAGE:
		return mapdev_page_info(s, arg);
	default:
		return -ENOTTY;
	}
}

static int mapdev_unmap(struct mapdev_session *s, const struct mapdev_unmap *unmap)
{
	struct mapdev_device *dev;

	if (unmap->even_cows > 1 || unmap->start > LLONG_MAX || unmap->len > LLONG_MAX ||
	    unmap->start + unmap->len > LLONG_MAX)
		return -EINVAL;
	dev = mapdev_device_find_used(s, unmap->device);
	if (!dev)
		return -ENOENT;
	/* A fault that was answered before, but not applied yet, is to be asked for again. */
	spin_lock(&s->lock);
	dev->unmaps++;
	spin_unlock(&s->lock);
	unmap_mapping_range(dev->inode->i_mapping, unmap->start, unmap->len, unmap->even_cows);
	put_device(&dev->dev);
	return 0;
}

static int mapdev_create(struct mapdev_session *s, struct mapdev_create *create)
{
	struct mapdev_place place;
	int ret = mapdev_place_copy(create->model, &place);

	if (ret)
		return ret;
	mutex_lock(&s->mutex);
	ret = s->dead ? -ENODEV : mapdev_device_create(s, create, &place);
	mutex_unlock(&s->mutex);
	mapdev_place_free(&place);
	return ret;
}

static int mapdev_do(struct mapdev_session *s, unsigned int cmd, void *arg)
{
	struct mapdev_alive *alive = arg;
	int ret = -ENODEV;

	switch (cmd) {
	case MAPDEV_IOC_INIT:
		return mapdev_init(s, arg);
	case MAPDEV_IOC_CREATE:
		return mapdev_create(s, arg);
	case MAPDEV_IOC_UEVENT:
		return mapdev_place_tell(s, arg);
	case MAPDEV_IOC_PFNS:
		return mapdev_buffer_pfns(s, arg);
	case MAPDEV_IOC_WAKE:
		return mapdev_device_wake(s, arg);
	case MAPDEV_IOC_SHOW:
		return mapdev_device_show(s, arg);
	case MAPDEV_IOC_SIGNAL:
		return mapdev_device_signal(s, arg);
	case MAPDEV_IOC_UNMAP:
		return mapdev_unmap(s, arg);
	case MAPDEV_IOC_ALIVE:
		return mapdev_call_alive(s, alive->id) ? 0 : -ENOENT;
	}
	mutex_lock(&s->mutex);
	if (!s->dead)
		ret = mapdev_manage(s, cmd, arg);
	mutex_unlock(&s->mutex);
	return ret;
}

/* The daemon could not be told of what it has now, and has no number to give it back by. */
static void mapdev_undo(struct mapdev_session *s, unsigned int cmd, const void *arg)
{
	const struct mapdev_create *create = arg;
	const struct mapdev_object *object = arg;
	const struct mapdev_alloc *alloc = arg;

	mutex_lock(&s->mutex);
	if (!s->dead && cmd == MAPDEV_IOC_CREATE)
		mapdev_device_destroy(s, create->id);
	if (!s->dead && cmd == MAPDEV_IOC_OBJECT)
		mapdev_object_forget(s, object->id);
	if (!s->dead && cmd == MAPDEV_IOC_ALLOC)
		mapdev_buffer_free(s, alloc->id);
	mutex_unlock(&s->mutex);
}

static const unsigned int mapdev_ioctls[] = {
	MAPDEV_IOC_INIT, MAPDEV_IOC_CREATE, MAPDEV_IOC_DESTROY, MAPDEV_IOC_ALLOC, MAPDEV_IOC_FREE,
	MAPDEV_IOC_PFNS, MAPDEV_IOC_PAGE, MAPDEV_IOC_WAKE, MAPDEV_IOC_UNMAP, MAPDEV_IOC_ALIVE,
	MAPDEV_IOC_SHOW, MAPDEV_IOC_OBJECT, MAPDEV_IOC_FORGET, MAPDEV_IOC_ATTR, MAPDEV_IOC_UEVENT,
	MAPDEV_IOC_SIGNAL,
};

static bool mapdev_known(unsigned int cmd)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(mapdev_ioctls); i++)
		if (cmd == mapdev_ioctls[i])
			return true;
	return false;
}

static long mapdev_control_ioctl(struct file *file, unsigned int cmd, unsigned long user)
{
	struct mapdev_session *s = file->private_data;
	u8 arg[sizeof(struct mapdev_create)] __aligned(8);	/* the largest */
	size_t size = _IOC_SIZE(cmd);
	long ret;

	if (!mapdev_is_owner(s))
		return -EPERM;
	/* Pairs with mapdev_begin(). */
	if (cmd != MAPDEV_IOC_INIT && !smp_load_acquire(&s->ready))
		return -EINVAL;
	if (READ_ONCE(s->dead))
		return -ENODEV;
	if (cmd == MAPDEV_IOC_NEXT)
		return mapdev_next(s, (void __user *)user);
	if (cmd == MAPDEV_IOC_KICK) {
		mapdev_kick(s);
		return 0;
	}
	if (!mapdev_known(cmd))
		return -ENOTTY;
	BUILD_BUG_ON(sizeof(struct mapdev_init) > sizeof(arg) ||
		     sizeof(struct mapdev_alloc) > sizeof(arg) ||
		     sizeof(struct mapdev_page) > sizeof(arg) ||
		     sizeof(struct mapdev_attr_change) > sizeof(arg));
	if (copy_from_user(arg, (void __user *)user, size))
		return -EFAULT;
	ret = mapdev_do(s, cmd, arg);
	/* The module's version is of interest just when it does not fit. */
	if ((!ret || ret == -EPROTONOSUPPORT) && _IOC_DIR(cmd) & _IOC_READ &&
	    copy_to_user((void __user *)user, arg, size)) {
		if (!ret)
			mapdev_undo(s, cmd, arg);
		return -EFAULT;
	}
	return ret;
}

static __poll_t mapdev_control_poll(struct file *file, poll_table *table)
{
	struct mapdev_session *s = file->private_data;
	__poll_t mask = 0;

	poll_wait(file, &s->daemon, table);
	spin_lock(&s->lock);
	if (s->dead)
		mask = EPOLLERR | EPOLLHUP;
	else if (s->kicked || mapdev_has_result(s, 0) || !list_empty(&s->urgent) ||
		 !list_empty(&s->normal))
		mask = EPOLLIN | EPOLLRDNORM;
	spin_unlock(&s->lock);
	return mask;
}

static int mapdev_control_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct mapdev_session *s = file->private_data;

	if (!mapdev_is_owner(s))
		return -EPERM;
	if (READ_ONCE(s->dead))
		return -ENODEV;
	/* Pairs with mapdev_begin(). */
	if (!smp_load_acquire(&s->ready) || !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_pgoff < MAPDEV_PAYLOAD_SIZE >> PAGE_SHIFT)
		return mapdev_payload_mmap(s, vma);
	return mapdev_buffer_mmap(s, vma);
}

const struct file_operations mapdev_control_fops = {
	.owner = THIS_MODULE,
	.open = mapdev_control_open,
	.flush = mapdev_control_flush,
	.release = mapdev_control_release,
	.unlocked_ioctl = mapdev_control_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.poll = mapdev_control_poll,
	.mmap = mapdev_control_mmap,
};
