// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attributes of devices: files in /sys whose reading and writing the daemon answers.
 *
 * An attribute belongs to its device, from before that is shown to its release; one that came later
 * (mapdev_attr.alone) until it is removed. Reading and writing are calls, which can be killed and have
 * a time limit. The kernel waits for those when it removes the file, so they have failed before:
 * mapdev_attr.gone, or the device's, and mapdev_fail_calls(). A call carries no command: what a
 * client's memory keeps waiting would keep the removal waiting.
 */
#include <linux/device.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "internal.h"

struct mapdev_attr {
	struct list_head node;		/* in the device's list, under session->mutex */
	struct mapdev_device *dev;
	bool gone;			/* under session->lock */
	bool alone;			/* in no group */
	struct mapdev_attribute as;	/* what the daemon said */
	union {
		struct device_attribute text;
		struct bin_attribute binary;
	};
};

struct mapdev_group {
	struct attribute_group group;
	unsigned int nr_texts, nr_binaries;
	struct attribute *texts[MAPDEV_ATTRS_MAX + 1];
	struct bin_attribute *binaries[MAPDEV_ATTRS_MAX + 1];
};

/* What the driver core makes in a device's directory itself, or may make. */
static const char * const mapdev_reserved_names[] = {
	"uevent", "dev", "power", "subsystem", "device", "driver", "online", "removable",
	"physical_location", "waiting_for_supplier", "driver_override", "modalias", "numa_node",
	"firmware_node", "of_node", "software_node", "msi_irqs", "iommu", "iommu_group", "wakeup",
};

/* ---- calls ---------------------------------------------------------------------------------- */

static struct mapdev_call *mapdev_attr_call(struct mapdev_attr *attr, u32 op)
{
	struct mapdev_call *call = mapdev_call_of_device(attr->dev, op);

	if (IS_ERR(call))
		return PTR_ERR(call) == -EIO ? ERR_PTR(-ENODEV) : call;
	call->attr = attr;
	call->attr_gone = &attr->gone;
	call->request.arg[0] = attr->as.tag;
	return call;
}

/* Return: how many bytes, which the reply was seen to have, or an error. */
static ssize_t mapdev_attr_take(struct mapdev_call *call, char *buf, size_t size)
{
	ssize_t ret = mapdev_call_run(call);

	if (ret > 0)
		memcpy(buf, mapdev_call_reply_payload(call), min_t(size_t, ret, size));
	mapdev_call_end(call);
	return ret;
}

static ssize_t mapdev_attr_give(struct mapdev_call *call, const char *buf, size_t len)
{
	ssize_t ret;

	call->request.arg[1] = len;
	ret = mapdev_call_kernel_payload(call, buf, len);
	if (!ret)
		ret = mapdev_call_run(call);
	mapdev_call_end(call);
	return ret;
}

static ssize_t mapdev_attr_show(struct device *device, mapdev_attr_const struct device_attribute *of,
				char *buf)
{
	struct mapdev_call *call = mapdev_attr_call(container_of(of, struct mapdev_attr, text),
						    MAPDEV_ATTR_SHOW);

	return IS_ERR(call) ? PTR_ERR(call) : mapdev_attr_take(call, buf, PAGE_SIZE - 1);
}

static ssize_t mapdev_attr_store(struct device *device, mapdev_attr_const struct device_attribute *of,
				 const char *buf, size_t len)
{
	struct mapdev_call *call = mapdev_attr_call(container_of(of, struct mapdev_attr, text),
						    MAPDEV_ATTR_STORE);

	return IS_ERR(call) ? PTR_ERR(call) : mapdev_attr_give(call, buf, len);
}

static ssize_t mapdev_bin_read(struct file *file, struct kobject *kobj,
			       mapdev_bin_const struct bin_attribute *of, char *buf, loff_t pos,
			       size_t len)
{
	struct mapdev_call *call = mapdev_attr_call(container_of(of, struct mapdev_attr, binary),
						    MAPDEV_BIN_READ);

	if (IS_ERR(call))
		return PTR_ERR(call);
	call->request.arg[1] = len;
	call->request.arg[2] = pos;
	return mapdev_attr_take(call, buf, len);
}

static ssize_t mapdev_bin_write(struct file *file, struct kobject *kobj,
				mapdev_bin_const struct bin_attribute *of, char *buf, loff_t pos,
				size_t len)
{
	struct mapdev_call *call = mapdev_attr_call(container_of(of, struct mapdev_attr, binary),
						    MAPDEV_BIN_WRITE);

	if (IS_ERR(call))
		return PTR_ERR(call);
	call->request.arg[2] = pos;
	return mapdev_attr_give(call, buf, len);
}

/* ---- what a daemon may ask for -------------------------------------------------------------- */

static bool mapdev_attribute_valid(const struct mapdev_attribute *as)
{
	if (!mapdev_word_valid(as->name, sizeof(as->name)) ||
	    (as->group[0] && !mapdev_word_valid(as->group, sizeof(as->group))))
		return false;
	return !(as->flags & ~(MAPDEV_ATTR_BINARY | MAPDEV_ATTR_READ | MAPDEV_ATTR_WRITE)) &&
	       !(as->mode & ~0777) && as->size <= LLONG_MAX &&
	       (as->flags & MAPDEV_ATTR_BINARY || !as->size);
}

static bool mapdev_name_reserved(const char *name)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(mapdev_reserved_names); i++)
		if (!strcmp(name, mapdev_reserved_names[i]))
			return true;
	return false;
}

/* Are two files of a name, or a file and a directory? */
static bool mapdev_attribute_clashes(const struct mapdev_attribute *one,
				     const struct mapdev_attribute *other)
{
	if (!strcmp(one->group, other->group))
		return !strcmp(one->name, other->name);
	return (!one->group[0] && !strcmp(one->name, other->group)) ||
	       (!other->group[0] && !strcmp(other->name, one->group));
}

static int mapdev_attr_check(struct mapdev_device *dev, const struct mapdev_attribute *as)
{
	struct mapdev_attr *other;
	unsigned int nr = 0;

	if (!mapdev_attribute_valid(as))
		return -EINVAL;
	if (mapdev_name_reserved(as->group[0] ? as->group : as->name))
		return -EEXIST;
	list_for_each_entry(other, &dev->attrs, node) {
		if (!other->gone && mapdev_attribute_clashes(as, &other->as))
			return -EEXIST;
		nr++;
	}
	return nr < MAPDEV_ATTRS_MAX ? 0 : -ENOSPC;
}

/* ---- attributes of a device ----------------------------------------------------------------- */

static void mapdev_attr_init(struct mapdev_attr *attr)
{
	const struct mapdev_attribute *as = &attr->as;

	if (as->flags & MAPDEV_ATTR_BINARY) {
		sysfs_bin_attr_init(&attr->binary);
		attr->binary.attr.name = as->name;
		attr->binary.attr.mode = as->mode;
		attr->binary.size = as->size;
		if (as->flags & MAPDEV_ATTR_READ)
			attr->binary.read = mapdev_bin_read;
		if (as->flags & MAPDEV_ATTR_WRITE)
			attr->binary.write = mapdev_bin_write;
		return;
	}
	sysfs_attr_init(&attr->text.attr);
	attr->text.attr.name = as->name;
	attr->text.attr.mode = as->mode;
	if (as->flags & MAPDEV_ATTR_READ)
		attr->text.show = mapdev_attr_show;
	if (as->flags & MAPDEV_ATTR_WRITE)
		attr->text.store = mapdev_attr_store;
}

static struct mapdev_attr *mapdev_attr_new(struct mapdev_device *dev,
					   const struct mapdev_attribute *as)
{
	struct mapdev_attr *attr;
	int ret = mapdev_attr_check(dev, as);

	if (ret)
		return ERR_PTR(ret);
	attr = kzalloc(sizeof(*attr), GFP_KERNEL_ACCOUNT);
	if (!attr)
		return ERR_PTR(-ENOMEM);
	attr->dev = dev;
	attr->as = *as;
	mapdev_attr_init(attr);
	list_add_tail(&attr->node, &dev->attrs);
	return attr;
}

static struct mapdev_group *mapdev_group_of(struct mapdev_device *dev, const char *name)
{
	struct mapdev_group *group;
	int i;

	for (i = 0; dev->groups[i]; i++) {
		group = container_of(dev->groups[i], struct mapdev_group, group);
		if (!strcmp(group->group.name ?: "", name))
			return group;
	}
	group = kvzalloc(sizeof(*group), GFP_KERNEL_ACCOUNT);
	if (!group)
		return NULL;
	group->group.name = name[0] ? name : NULL;
	group->group.attrs = group->texts;
	group->group.bin_attrs = (void *)group->binaries;
	dev->groups[i] = &group->group;
	return group;
}

/**
 * mapdev_attrs_add - give a device its attributes, before it is shown
 * @dev: the device
 * @as: the attributes
 * @nr: how many
 *
 * Return: 0, EINVAL, EEXIST (two of a name, or one of the kernel's own), ENOMEM. What was made goes
 * with the device.
 */
int mapdev_attrs_add(struct mapdev_device *dev, const struct mapdev_attribute *as, unsigned int nr)
{
	struct mapdev_group *group;
	struct mapdev_attr *attr;
	unsigned int i;

	if (!nr)
		return 0;
	dev->groups = kcalloc(nr + 1, sizeof(*dev->groups), GFP_KERNEL_ACCOUNT);
	if (!dev->groups)
		return -ENOMEM;
	for (i = 0; i < nr; i++) {
		attr = mapdev_attr_new(dev, &as[i]);
		if (IS_ERR(attr))
			return PTR_ERR(attr);
		group = mapdev_group_of(dev, attr->as.group);
		if (!group)
			return -ENOMEM;
		if (as[i].flags & MAPDEV_ATTR_BINARY)
			group->binaries[group->nr_binaries++] = &attr->binary;
		else
			group->texts[group->nr_texts++] = &attr->text.attr;
	}
	return 0;
}

/* The device is in sysfs no more. */
void mapdev_attrs_free(struct mapdev_device *dev)
{
	struct mapdev_attr *attr, *next;
	int i;

	list_for_each_entry_safe(attr, next, &dev->attrs, node)
		kfree(attr);
	for (i = 0; dev->groups && dev->groups[i]; i++)
		kvfree(container_of(dev->groups[i], struct mapdev_group, group));
	kfree(dev->groups);
}

/* ---- of a device that is there -------------------------------------------------------------- */

static int mapdev_attr_create(struct mapdev_device *dev, const struct mapdev_attribute *as)
{
	struct device *shown = mapdev_shown(dev);
	struct mapdev_attr *attr;
	char *path;
	int ret;

	if (as->group[0])
		return -EOPNOTSUPP;
	attr = mapdev_attr_new(dev, as);
	if (IS_ERR(attr))
		return PTR_ERR(attr);
	attr->alone = true;
	path = kobject_get_path(&shown->kobj, GFP_KERNEL);
	ret = path ? mapdev_path_free("/sys%s/%s", path, as->name) : -ENOMEM;
	kfree(path);
	if (!ret && as->flags & MAPDEV_ATTR_BINARY)
		ret = device_create_bin_file(shown, &attr->binary);
	else if (!ret)
		ret = device_create_file(shown, &attr->text);
	if (ret) {
		list_del(&attr->node);
		kfree(attr);
	}
	return ret;
}

static struct mapdev_attr *mapdev_attr_find(struct mapdev_device *dev, u64 tag)
{
	struct mapdev_attr *attr;

	list_for_each_entry(attr, &dev->attrs, node)
		if (attr->as.tag == tag && !attr->gone)
			return attr;
	return NULL;
}

static void mapdev_attr_remove(struct mapdev_device *dev, struct mapdev_attr *attr)
{
	struct device *shown = mapdev_shown(dev);
	const char *group = attr->as.group[0] ? attr->as.group : NULL;

	spin_lock(&dev->session->lock);
	attr->gone = true;
	spin_unlock(&dev->session->lock);
	mapdev_fail_calls(dev->session, dev, attr, -ENODEV);
	if (attr->as.flags & MAPDEV_ATTR_BINARY)
		device_remove_bin_file(shown, &attr->binary);
	else
		sysfs_remove_file_from_group(&shown->kobj, &attr->text.attr, group);
	if (attr->alone) {
		list_del(&attr->node);
		kfree(attr);
	}
}

/**
 * mapdev_attr_change - MAPDEV_IOC_ATTR
 * @s: the session; its mutex is held
 * @change: what happens
 *
 * Return: 0, EINVAL, ENOENT, EEXIST, ENOSPC, ENOMEM, EOPNOTSUPP.
 */
int mapdev_attr_change(struct mapdev_session *s, const struct mapdev_attr_change *change)
{
	struct mapdev_device *dev = xa_load(&s->devices, change->device);
	struct mapdev_attr *attr;

	if (!dev || !dev->is_shown)
		return -ENOENT;
	if (change->kind == MAPDEV_ATTR_ADD)
		return mapdev_attr_create(dev, &change->attr);
	attr = mapdev_attr_find(dev, change->attr.tag);
	if (!attr)
		return -ENOENT;
	switch (change->kind) {
	case MAPDEV_ATTR_REMOVE:
		if (attr->as.group[0] && attr->as.flags & MAPDEV_ATTR_BINARY)
			return -EOPNOTSUPP;
		mapdev_attr_remove(dev, attr);
		return 0;
	case MAPDEV_ATTR_NOTIFY:
		sysfs_notify(&mapdev_shown(dev)->kobj,
			     attr->as.group[0] ? attr->as.group : NULL, attr->as.name);
		return 0;
	default:
		return -EINVAL;
	}
}
