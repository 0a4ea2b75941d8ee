// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices.
 *
 * A device is in its session's table until it is destroyed, and lives as long as open files refer
 * to it. Its file_operations come from a table with one entry for each set of operations, so that
 * VFS itself answers what the device does not have, as it would for a driver in C; and because VFS
 * looks at them after the device may have been freed.
 *
 * All files of a device share the address_space of an inode of its own (its nodes may be many, or
 * none), so that MAPDEV_IOC_UNMAP finds what maps it.
 */
#include <linux/idr.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/signal.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "internal.h"

#define MAPDEV_HAS_ALL	(MAPDEV_HAS_FASYNC * 2 - 1)

static struct file_operations mapdev_fops[MAPDEV_HAS_ALL + 1] __ro_after_init;
dev_t mapdev_numbers;
static DEFINE_IDA(mapdev_minors);
static DEFINE_XARRAY(mapdev_by_number);	/* devices that can be opened, by their dev_t */

/* ---- devices -------------------------------------------------------------------------------- */

static void mapdev_device_free(struct device *device)
{
	struct mapdev_device *dev = container_of(device, struct mapdev_device, dev);
	struct mapdev_session *s = dev->session;

	mapdev_attrs_free(dev);
	kfree(dev->env);
	kfree(dev->node);
	iput(dev->inode);
	kfree(dev);
	mapdev_session_put(s);
	/* Who puts the last reference need be no file of ours: see mapdev_device_new(). */
	module_put(THIS_MODULE);
}

static char *mapdev_devnode(mapdev_devnode_const struct device *device, umode_t *mode, kuid_t *uid,
			    kgid_t *gid)
{
	mapdev_devnode_const struct mapdev_device *dev =
		container_of(device, struct mapdev_device, dev);

	/* There is nowhere to put them when the node is removed. */
	if (mode && !dev->any_mode)
		*mode = dev->mode | S_IFCHR;	/* without a type, mode 0 would mean 0600 */
	if (uid)
		*uid = dev->uid;
	if (gid)
		*gid = dev->gid;
	return dev->node ? kstrdup(dev->node, GFP_KERNEL) : NULL;
}

const struct file_operations *mapdev_device_fops(const struct mapdev_device *dev)
{
	return &mapdev_fops[dev->has];
}

/* A path below /dev as the driver core has it; there '!' stands for '/', so it can't have any. */
static bool mapdev_name_valid(const char *name)
{
	const char *part = name;
	size_t len;

	if (strnlen(name, MAPDEV_NAME_MAX) == MAPDEV_NAME_MAX)
		return false;
	for (;;) {
		len = strcspn(part, "/");
		if (!len || (part[0] == '.' && (len == 1 || (len == 2 && part[1] == '.'))))
			return false;
		if (!part[len])
			break;
		part += len + 1;
	}
	for (; *name; name++)
		if (*name == '!' || *name <= ' ' || *name == 0x7f)
			return false;
	return true;
}

/* devtmpfs and sysfs would not tell: one leaves what it finds, the other complains to the log. */
static int mapdev_show_device(struct mapdev_device *dev, const char *node)
{
	int ret;

	mutex_lock(&mapdev_names);
	ret = mapdev_place_is_free(dev);
	if (!ret && node)
		ret = mapdev_path_free("/dev/%s", node);
	if (!ret)
		ret = mapdev_place_add(dev);
	mutex_unlock(&mapdev_names);
	return ret;
}

static int mapdev_get_number(struct mapdev_device *dev, const struct mapdev_create *create,
			     const char *region)
{
	int minor;

	if (create->major) {
		if (create->major >= CHRDEV_MAJOR_MAX || create->minor > MINORMASK)
			return -EINVAL;
		dev->own_number = true;
		dev->dev.devt = MKDEV(create->major, create->minor);
		return register_chrdev_region(dev->dev.devt, 1, region[0] ? region : "mapdev");
	}
	if (create->minor)
		return -EINVAL;
	minor = ida_alloc_range(&mapdev_minors, 1, MINORMASK, GFP_KERNEL);
	if (minor < 0)
		return minor;
	dev->dev.devt = mapdev_numbers + minor;
	return 0;
}

static void mapdev_put_number(struct mapdev_device *dev)
{
	if (dev->own_number)
		unregister_chrdev_region(dev->dev.devt, 1);
	else
		ida_free(&mapdev_minors, MINOR(dev->dev.devt));
}

static int mapdev_add_cdev(struct mapdev_device *dev)
{
	int ret;

	dev->cdev = cdev_alloc();
	if (!dev->cdev)
		return -ENOMEM;
	dev->cdev->ops = &mapdev_fops[dev->has];
	dev->cdev->owner = THIS_MODULE;
	ret = cdev_add(dev->cdev, dev->dev.devt, 1);
	if (ret)
		kobject_put(&dev->cdev->kobj);
	return ret;
}

static int mapdev_add_node(struct mapdev_device *dev, const struct mapdev_create *create,
			   const char *region)
{
	int ret;

	ret = mapdev_get_number(dev, create, region);
	if (ret)
		return ret;
	ret = xa_insert(&mapdev_by_number, dev->dev.devt, dev, GFP_KERNEL);
	if (ret)
		goto err_number;
	ret = mapdev_add_cdev(dev);
	if (ret)
		goto err_table;
	ret = mapdev_show_device(dev, create->name);
	if (ret)
		goto err_cdev;
	return 0;

err_cdev:
	cdev_del(dev->cdev);
err_table:
	xa_erase(&mapdev_by_number, dev->dev.devt);
err_number:
	mapdev_put_number(dev);
	dev->cdev = NULL;
	return ret;
}

static struct mapdev_device *mapdev_device_new(struct mapdev_session *s,
					       const struct mapdev_create *create)
{
	struct mapdev_device *dev = kzalloc(sizeof(*dev), GFP_KERNEL_ACCOUNT);

	if (!dev)
		return NULL;
	device_initialize(&dev->dev);
	__module_get(THIS_MODULE);	/* sysfs and others may keep it when all files are closed */
	kref_get(&s->ref);
	dev->session = s;
	dev->dev.class = mapdev_class;
	dev->type.name = "mapdev";
	dev->type.devnode = mapdev_devnode;
	dev->type.uevent = mapdev_place_uevent;
	dev->type.release = mapdev_device_free;
	dev->dev.type = &dev->type;
	INIT_LIST_HEAD(&dev->attrs);
	dev->has = create->has;
	dev->mode = create->mode;
	dev->uid = make_kuid(current_user_ns(), create->uid);
	dev->gid = make_kgid(current_user_ns(), create->gid);
	dev->inode = mapdev_anon_inode();
	if (IS_ERR(dev->inode)) {
		dev->inode = NULL;
		put_device(&dev->dev);
		return NULL;
	}
	return dev;
}

static int mapdev_check_create(const struct mapdev_create *create)
{
	bool anon = create->flags & MAPDEV_CREATE_ANON;
	bool numberless = create->flags & MAPDEV_CREATE_NO_NUMBER;

	if (create->flags & ~(MAPDEV_CREATE_ANON | MAPDEV_CREATE_NO_NUMBER) ||
	    create->has & ~MAPDEV_HAS_ALL || create->mode & ~0777 || create->reserved)
		return -EINVAL;
	if ((anon && (create->model || numberless)) ||
	    (numberless && (!create->model || create->major || create->minor || create->has)))
		return -EINVAL;
	if (!uid_valid(make_kuid(current_user_ns(), create->uid)) ||
	    !gid_valid(make_kgid(current_user_ns(), create->gid)))
		return -EINVAL;
	return anon || numberless || mapdev_name_valid(create->name) ? 0 : -EINVAL;
}

/**
 * mapdev_device_create - MAPDEV_IOC_CREATE
 * @s: the session; its mutex is held
 * @create: what is wished for, and what came of it
 * @place: its place in the device model; see mapdev_place_fill()
 *
 * Return: 0, EINVAL, EEXIST (name), EBUSY (number), ENOENT (what it belongs to), EDQUOT, ENOMEM.
 */
int mapdev_device_create(struct mapdev_session *s, struct mapdev_create *create,
			 struct mapdev_place *place)
{
	bool numberless = create->flags & MAPDEV_CREATE_NO_NUMBER;
	bool anon = create->flags & MAPDEV_CREATE_ANON;
	struct mapdev_device *dev;
	int ret;

	ret = mapdev_check_create(create) ?: mapdev_user_add_device(s->user);
	if (ret)
		return ret;
	dev = mapdev_device_new(s, create);
	if (!dev) {
		mapdev_user_remove_device(s->user);
		return -ENOMEM;
	}
	ret = xa_alloc_cyclic(&s->devices, &dev->id, NULL, xa_limit_31b, &s->next_device,
			      GFP_KERNEL);
	if (ret < 0)
		goto err_device;
	ret = 0;
	if (place->wanted)
		ret = mapdev_place_fill(dev, place, numberless ? NULL : create->name);
	else if (!anon)
		ret = dev_set_name(&dev->dev, "%s", create->name);
	if (!ret && numberless)
		ret = mapdev_show_device(dev, NULL);
	else if (!ret && !anon)
		ret = mapdev_add_node(dev, create, place->model.region);
	if (ret)
		goto err_id;
	/*
	 * Visible from here on. Opens that came before this are asked of the daemon all the same.
	 */
	xa_store(&s->devices, dev->id, dev, GFP_KERNEL);
	create->id = dev->id;
	create->major = MAJOR(dev->dev.devt);
	create->minor = MINOR(dev->dev.devt);
	return 0;

err_id:
	mapdev_place_leave(dev);
	xa_erase(&s->devices, dev->id);
err_device:
	mapdev_user_remove_device(s->user);
	put_device(&dev->dev);
	return ret;
}

/* Return: the device of a number, to be given back by put_device(), or NULL. */
struct mapdev_device *mapdev_device_get(dev_t number)
{
	struct mapdev_device *dev;

	xa_lock(&mapdev_by_number);
	dev = xa_load(&mapdev_by_number, number);
	if (dev)
		get_device(&dev->dev);
	xa_unlock(&mapdev_by_number);
	return dev;
}

/* Return: the device, to be given back by put_device(), or NULL. */
struct mapdev_device *mapdev_device_find(struct mapdev_session *s, u32 id)
{
	struct mapdev_device *dev;

	xa_lock(&s->devices);
	dev = xa_load(&s->devices, id);
	if (dev)
		get_device(&dev->dev);
	xa_unlock(&s->devices);
	return dev;
}

/*
 * The same, also of a device that was destroyed, as long as it is open somewhere: what maps it
 * stays. Files are in the table until their last VMA is gone.
 */
struct mapdev_device *mapdev_device_find_used(struct mapdev_session *s, u32 id)
{
	struct mapdev_device *dev = mapdev_device_find(s, id);
	struct mapdev_file *mf;
	unsigned long number;

	if (dev)
		return dev;
	xa_lock(&s->files);
	xa_for_each(&s->files, number, mf) {
		if (mf->dev->id == id) {
			dev = mf->dev;
			get_device(&dev->dev);
			break;
		}
	}
	xa_unlock(&s->files);
	return dev;
}

static void mapdev_wake_files(struct mapdev_session *s, struct mapdev_device *dev, __poll_t mask)
{
	struct mapdev_file *mf;
	unsigned long id;

	xa_lock(&s->files);
	xa_for_each(&s->files, id, mf)
		if (mf->dev == dev)
			wake_up_poll(&mf->wait, mask);
	xa_unlock(&s->files);
}

/**
 * mapdev_device_destroy - MAPDEV_IOC_DESTROY
 * @s: the session; its mutex is held
 * @id: of the device
 *
 * Return: 0, ENOENT, or EBUSY: it has children.
 */
int mapdev_device_destroy(struct mapdev_session *s, u32 id)
{
	struct mapdev_device *dev = xa_load(&s->devices, id);

	if (!dev)
		return -ENOENT;
	if (dev->nr_children)
		return -EBUSY;
	xa_erase(&s->devices, id);
	spin_lock(&s->lock);
	dev->gone = true;
	spin_unlock(&s->lock);
	/* Before its attributes go: who is in them is waited for. */
	mapdev_fail_calls(s, dev, NULL, s->dead ? -EIO : -ENODEV);
	if (dev->cdev)
		xa_erase(&mapdev_by_number, dev->dev.devt);
	mapdev_place_del(dev);
	if (dev->cdev) {
		cdev_del(dev->cdev);
		mapdev_put_number(dev);
	}
	mapdev_place_leave(dev);
	mapdev_user_remove_device(s->user);
	mapdev_wake_files(s, dev, EPOLLERR | EPOLLHUP);
	put_device(&dev->dev);
	return 0;
}

/**
 * mapdev_device_wake - MAPDEV_IOC_WAKE
 * @s: the session
 * @wake: whom, and what for
 *
 * Return: 0, or ENOENT: no such file or device.
 */
int mapdev_device_wake(struct mapdev_session *s, const struct mapdev_wake *wake)
{
	__poll_t mask = (__force __poll_t)(wake->mask & MAPDEV_POLL_EVENTS);
	struct mapdev_device *dev;
	struct mapdev_file *mf;

	if (wake->file) {
		xa_lock(&s->files);
		mf = xa_load(&s->files, wake->file);
		if (mf)
			wake_up_poll(&mf->wait, mask);
		xa_unlock(&s->files);
		return mf ? 0 : -ENOENT;
	}
	dev = mapdev_device_find(s, wake->device);
	if (!dev)
		return -ENOENT;
	mapdev_wake_files(s, dev, mask);
	put_device(&dev->dev);
	return 0;
}

/**
 * mapdev_device_show - MAPDEV_IOC_SHOW
 * @s: the session
 * @show: of which file, what poll says of it, and what has become true
 *
 * Return: 0, EINVAL, or ENOENT: no such file.
 */
int mapdev_device_show(struct mapdev_session *s, const struct mapdev_show *show)
{
	bool keep = show->flags & MAPDEV_SHOW_KEEP;
	struct mapdev_file *mf;

	if (show->flags & ~(MAPDEV_SHOW_KEEP | MAPDEV_SHOW_WAKE) || show->reserved)
		return -EINVAL;
	xa_lock(&s->files);
	mf = xa_load(&s->files, show->file);
	if (mf) {
		/* Before the wake-up: see mapdev_poll(). */
		WRITE_ONCE(mf->shown, keep ? show->mask & MAPDEV_POLL_EVENTS : MAPDEV_NOT_SHOWN);
		if (show->flags & MAPDEV_SHOW_WAKE)
			wake_up_poll(&mf->wait,
				     (__force __poll_t)(show->woken & MAPDEV_POLL_EVENTS));
	}
	xa_unlock(&s->files);
	return mf ? 0 : -ENOENT;
}

/**
 * mapdev_device_signal - MAPDEV_IOC_SIGNAL
 * @s: the session
 * @signal: what to tell whose owner
 *
 * Return: 0; ENOENT, EINVAL.
 */
int mapdev_device_signal(struct mapdev_session *s, const struct mapdev_signal *signal)
{
	struct mapdev_file *mf;

	if ((signal->sig != SIGIO && signal->sig != SIGURG) || signal->band < POLL_IN ||
	    signal->band > POLL_HUP)
		return -EINVAL;
	xa_lock(&s->files);
	mf = xa_load(&s->files, signal->file);
	if (mf)
		kill_fasync(&mf->fasync, signal->sig, signal->band);
	xa_unlock(&s->files);
	return mf ? 0 : -ENOENT;
}

/* ---- the module's begin and end ------------------------------------------------------------- */

int __init mapdev_device_init(void)
{
	u32 has;
	int ret;

	for (has = 0; has <= MAPDEV_HAS_ALL; has++)
		mapdev_file_init(&mapdev_fops[has], has);
	ret = mapdev_anon_init();
	if (ret)
		return ret;
	ret = alloc_chrdev_region(&mapdev_numbers, 0, MINORMASK + 1, "mapdev");
	if (ret)
		mapdev_anon_exit();
	return ret;
}

void mapdev_device_exit(void)
{
	unregister_chrdev_region(mapdev_numbers, MINORMASK + 1);
	mapdev_anon_exit();
	ida_destroy(&mapdev_minors);
}
