// SPDX-License-Identifier: GPL-2.0-only
/*
 * Classes, buses and drivers of buses: what a device in /sys belongs to.
 *
 * An object is registered once and shared by all sessions that ask for its name. It has a use for
 * each of them (by an id of the session's), for each device that belongs to it, and for each driver
 * of a bus; with the last it is unregistered. All of that is under mapdev_names, which is also held
 * from looking whether a name is free to having it: the driver core would not only refuse one that is
 * in use, but complain to the log.
 */
#include <linux/ctype.h>
#include <linux/device.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/namei.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "internal.h"

struct mapdev_object_entry {
	struct list_head node;		/* in mapdev_objects */
	unsigned int uses;
	u32 kind;
	struct mapdev_object_entry *on;	/* of a driver: the bus, a use; NULL: the platform bus */
	struct class *class;
	bool is_others;			/* the class is not ours to unregister */
	struct bus_type bus;
	struct platform_driver driver;	/* of another bus: its struct device_driver alone */
	char name[MAPDEV_WORD_MAX];
};

DEFINE_MUTEX(mapdev_names);
static LIST_HEAD(mapdev_objects);	/* under mapdev_names */

/* A name that sysfs has as it is: no way out of the directory, and no second meaning ('!'). */
bool mapdev_word_valid(const char *word, size_t size)
{
	size_t len = strnlen(word, size);

	if (!len || len == size || !strcmp(word, ".") || !strcmp(word, ".."))
		return false;
	for (; *word; word++)
		if (!isascii(*word) || !isgraph(*word) || *word == '/' || *word == '!')
			return false;
	return true;
}

/**
 * mapdev_path_free - is there nothing of a name?
 * @format: of the path, for printf
 *
 * Return: 0, EEXIST, or another error.
 */
int mapdev_path_free(const char *format, ...)
{
	struct path path;
	va_list args;
	char *name;
	int ret;

	va_start(args, format);
	name = kvasprintf(GFP_KERNEL, format, args);
	va_end(args);
	if (!name)
		return -ENOMEM;
	ret = kern_path(name, 0, &path);
	kfree(name);
	if (!ret)
		path_put(&path);
	return ret == -ENOENT ? 0 : ret ?: -EEXIST;
}

/* Devices say themselves which driver they are bound to: see mapdev_place_fill(). */
static int mapdev_never_match(struct device *dev, mapdev_match_const struct device_driver *driver)
{
	return 0;
}

static struct mapdev_object_entry *mapdev_object_find(u32 kind, struct mapdev_object_entry *on,
						      const char *name)
{
	struct mapdev_object_entry *entry;

	list_for_each_entry(entry, &mapdev_objects, node)
		if (entry->kind == kind && entry->on == on && !strcmp(entry->name, name))
			return entry;
	return NULL;
}

static int mapdev_register_driver(struct mapdev_object_entry *entry)
{
	struct device_driver *driver = &entry->driver.driver;
	int ret;

	ret = mapdev_path_free("/sys/bus/%s/drivers/%s",
			       entry->on ? entry->on->name : "platform", entry->name);
	if (ret)
		return ret;
	driver->name = entry->name;
	driver->owner = THIS_MODULE;
	/* Who is bound to what is the daemon's to say. */
	driver->suppress_bind_attrs = true;
	if (!entry->on)
		return platform_driver_register(&entry->driver);
	driver->bus = &entry->on->bus;
	return driver_register(driver);
}

static const struct file_operations mapdev_probe_fops = {
	.owner = THIS_MODULE,
};

/*
 * The class of misc devices, which only one of them tells. Devices in it have numbers of our own all
 * the same: while one of major 10 is opened no other misc device of the machine can be.
 */
static int mapdev_find_misc_class(struct mapdev_object_entry *entry)
{
	struct miscdevice probe = {
		.minor = MISC_DYNAMIC_MINOR,
		.name = "mapdev-probe",
		.fops = &mapdev_probe_fops,
	};
	int ret = misc_register(&probe);

	if (ret)
		return ret;
	entry->class = (struct class *)probe.this_device->class;
	entry->is_others = true;
	misc_deregister(&probe);
	return 0;
}

static int mapdev_register(struct mapdev_object_entry *entry)
{
	int ret;

	switch (entry->kind) {
	case MAPDEV_OBJECT_CLASS:
		if (!strcmp(entry->name, "misc"))
			return mapdev_find_misc_class(entry);
		ret = mapdev_path_free("/sys/class/%s", entry->name);
		if (ret)
			return ret;
		entry->class = mapdev_class_create(entry->name);
		return PTR_ERR_OR_ZERO(entry->class);
	case MAPDEV_OBJECT_BUS:
		ret = mapdev_path_free("/sys/bus/%s", entry->name);
		if (ret)
			return ret;
		entry->bus.name = entry->name;
		entry->bus.match = mapdev_never_match;
		return bus_register(&entry->bus);
	default:
		return mapdev_register_driver(entry);
	}
}

static void mapdev_unregister(struct mapdev_object_entry *entry)
{
	switch (entry->kind) {
	case MAPDEV_OBJECT_CLASS:
		if (!entry->is_others)
			class_destroy(entry->class);
		break;
	case MAPDEV_OBJECT_BUS:
		bus_unregister(&entry->bus);
		break;
	default:
		if (entry->on)
			driver_unregister(&entry->driver.driver);
		else
			platform_driver_unregister(&entry->driver);
	}
}

/* mapdev_names is held. */
static void mapdev_object_unuse(struct mapdev_object_entry *entry)
{
	struct mapdev_object_entry *on = entry->on;

	if (--entry->uses)
		return;
	list_del(&entry->node);
	mapdev_unregister(entry);
	kfree(entry);
	if (on)
		mapdev_object_unuse(on);
}

/**
 * mapdev_object_put - the end of a use
 * @entry: the object; NULL: nothing happens
 */
void mapdev_object_put(struct mapdev_object_entry *entry)
{
	if (!entry)
		return;
	mutex_lock(&mapdev_names);
	mapdev_object_unuse(entry);
	mutex_unlock(&mapdev_names);
}

/**
 * mapdev_object_use - use an object for a device
 * @s: the session; its mutex is held
 * @id: of the object; 0: none
 * @kind: what it is to be
 *
 * Return: the object, for mapdev_object_put(); NULL without an id; or an ERR_PTR: ENOENT.
 */
struct mapdev_object_entry *mapdev_object_use(struct mapdev_session *s, u32 id, u32 kind)
{
	struct mapdev_object_entry *entry;

	if (!id)
		return NULL;
	entry = xa_load(&s->objects, id);
	if (!entry || entry->kind != kind)
		return ERR_PTR(-ENOENT);
	mutex_lock(&mapdev_names);
	entry->uses++;
	mutex_unlock(&mapdev_names);
	return entry;
}

struct class *mapdev_object_class(struct mapdev_object_entry *entry)
{
	return entry->class;
}

mapdev_bus_const struct bus_type *mapdev_object_bus(struct mapdev_object_entry *entry)
{
	return &entry->bus;
}

/* Return: the driver, if it is one of that bus; NULL: of the platform bus. */
struct device_driver *mapdev_object_driver(struct mapdev_object_entry *entry,
					   struct mapdev_object_entry *on)
{
	return entry->on == on ? &entry->driver.driver : NULL;
}

/* mapdev_names is held. */
static struct mapdev_object_entry *mapdev_object_get(u32 kind, struct mapdev_object_entry *on,
						     const char *name)
{
	struct mapdev_object_entry *entry = mapdev_object_find(kind, on, name);
	int ret;

	if (entry) {
		entry->uses++;
		return entry;
	}
	entry = kzalloc(sizeof(*entry), GFP_KERNEL_ACCOUNT);
	if (!entry)
		return ERR_PTR(-ENOMEM);
	entry->uses = 1;
	entry->kind = kind;
	entry->on = on;
	strscpy(entry->name, name, sizeof(entry->name));
	ret = mapdev_register(entry);
	if (ret) {
		kfree(entry);
		return ERR_PTR(ret);
	}
	if (on)
		on->uses++;
	list_add(&entry->node, &mapdev_objects);
	return entry;
}

/**
 * mapdev_object_create - MAPDEV_IOC_OBJECT
 * @s: the session; its mutex is held
 * @object: what is wished for, and its id
 *
 * Return: 0, EINVAL, ENOENT (the bus), EEXIST, EDQUOT, ENOMEM.
 */
int mapdev_object_create(struct mapdev_session *s, struct mapdev_object *object)
{
	struct mapdev_object_entry *entry, *on = NULL;
	int ret;

	if (object->kind > MAPDEV_OBJECT_DRIVER || object->reserved ||
	    (object->bus && object->kind != MAPDEV_OBJECT_DRIVER) ||
	    !mapdev_word_valid(object->name, sizeof(object->name)))
		return -EINVAL;
	if (object->bus) {
		on = xa_load(&s->objects, object->bus);
		if (!on || on->kind != MAPDEV_OBJECT_BUS)
			return -ENOENT;
	}
	ret = mapdev_user_add_device(s->user);
	if (ret)
		return ret;
	mutex_lock(&mapdev_names);
	entry = mapdev_object_get(object->kind, on, object->name);
	mutex_unlock(&mapdev_names);
	ret = PTR_ERR_OR_ZERO(entry);
	if (ret)
		goto err_user;
	ret = xa_alloc_cyclic(&s->objects, &object->id, entry, xa_limit_31b, &s->next_object,
			      GFP_KERNEL);
	if (ret < 0)
		goto err_entry;
	return 0;

err_entry:
	mapdev_object_put(entry);
err_user:
	mapdev_user_remove_device(s->user);
	return ret;
}

/* MAPDEV_IOC_FORGET; the session's mutex is held. 0 or ENOENT. Devices keep what they belong to. */
int mapdev_object_forget(struct mapdev_session *s, u32 id)
{
	struct mapdev_object_entry *entry = xa_erase(&s->objects, id);

	if (!entry)
		return -ENOENT;
	mapdev_object_put(entry);
	mapdev_user_remove_device(s->user);
	return 0;
}
