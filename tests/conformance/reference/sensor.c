// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device "sensor" has, besides its node, a device of a class with attributes: /sys/class/ref_class/
 * ref_unit, whose own node nobody serves. It is taken away and comes back by REF_UNIT.
 */
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "reference.h"

#define REF_BIN_SIZE	64
#define REF_ENDLESS	100	/* bytes that the attribute without a size has */

static struct class *ref_class;
static dev_t ref_number;
static struct device *ref_unit;
static struct ref_device *ref_sensor;

/* A number from REF_RETURN that is above 0: that many bytes. */
static ssize_t text_show(struct device *unit, struct device_attribute *attr, char *buf)
{
	struct ref_device *dev = ref_sensor;
	long long nr = atomic64_inc_return(&dev->ran[REF_SHOW]);

	if (dev->result < 0)
		return dev->result;
	if (!dev->result)
		return sysfs_emit(buf, "%04lld%s\n", nr, "0123456789abcdefghijklmnopqrstuvwxyz");
	memset(buf, 'x', min_t(s64, dev->result, PAGE_SIZE));
	return dev->result;
}

static ssize_t text_store(struct device *unit, struct device_attribute *attr, const char *buf,
			  size_t count)
{
	struct ref_device *dev = ref_sensor;

	ref_count(dev, REF_STORE);
	dev->count = count;
	memcpy(ref_locate(dev, 0), buf, min_t(size_t, count, PAGE_SIZE));
	sysfs_notify(&unit->kobj, NULL, "text");
	return dev->result ?: count;
}
static DEVICE_ATTR_RW(text);

static ssize_t fixed_show(struct device *unit, struct device_attribute *attr, char *buf)
{
	ref_count(ref_sensor, REF_SHOW);
	return sysfs_emit(buf, "fixed\n");
}
static DEVICE_ATTR_RO(fixed);

static ssize_t order_store(struct device *unit, struct device_attribute *attr, const char *buf,
			   size_t count)
{
	return text_store(unit, attr, buf, count);
}
static DEVICE_ATTR_WO(order);

static ssize_t inner_show(struct device *unit, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "inner\n");
}
static DEVICE_ATTR_RO(inner);

static ssize_t bytes_read(struct file *file, struct kobject *kobj, ref_bin_const struct bin_attribute *attr,
			  char *buf, loff_t pos, size_t count)
{
	struct ref_device *dev = ref_sensor;

	ref_count(dev, REF_SHOW);
	dev->count = count;
	dev->pos = pos;
	if (dev->result < 0)
		return dev->result;
	memcpy(buf, ref_locate(dev, PAGE_SIZE) + pos, count);
	return count;
}

static ssize_t bytes_write(struct file *file, struct kobject *kobj,
			   ref_bin_const struct bin_attribute *attr, char *buf, loff_t pos, size_t count)
{
	struct ref_device *dev = ref_sensor;

	ref_count(dev, REF_STORE);
	dev->count = count;
	dev->pos = pos;
	if (dev->result < 0)
		return dev->result;
	memcpy(ref_locate(dev, PAGE_SIZE) + pos, buf, count);
	return count;
}
static BIN_ATTR_RW(bytes, REF_BIN_SIZE);

static ssize_t endless_read(struct file *file, struct kobject *kobj,
			    ref_bin_const struct bin_attribute *attr, char *buf, loff_t pos, size_t count)
{
	struct ref_device *dev = ref_sensor;

	ref_count(dev, REF_SHOW);
	dev->count = count;
	dev->pos = pos;
	if (pos >= REF_ENDLESS)
		return 0;
	count = min_t(size_t, count, REF_ENDLESS - pos);
	memset(buf, 'e', count);
	return count;
}
static BIN_ATTR_RO(endless, 0);

static struct attribute *ref_attrs[] = {
	&dev_attr_text.attr, &dev_attr_fixed.attr, &dev_attr_order.attr, NULL,
};

static struct bin_attribute *ref_binaries[] = { &bin_attr_bytes, &bin_attr_endless, NULL };

static const struct attribute_group ref_group = {
	.attrs = ref_attrs,
	.bin_attrs = (void *)ref_binaries,
};

static struct attribute *ref_inner_attrs[] = { &dev_attr_inner.attr, NULL };

static const struct attribute_group ref_inner_group = {
	.name = "group",
	.attrs = ref_inner_attrs,
};

static const struct attribute_group *ref_groups[] = { &ref_group, &ref_inner_group, NULL };

static int ref_uevent(ref_uevent_const struct device *unit, struct kobj_uevent_env *env)
{
	return add_uevent_var(env, "REF_KIND=%s", "reference");
}

/* Make the unit, or take it away; it may be so already. */
int ref_unit_exists(bool wanted)
{
	if (!ref_class || wanted == !!ref_unit)
		return 0;
	if (!wanted) {
		device_unregister(ref_unit);
		ref_unit = NULL;
		return 0;
	}
	ref_unit = device_create_with_groups(ref_class, NULL, ref_number, NULL, ref_groups, "ref_unit");
	if (!IS_ERR(ref_unit))
		return 0;
	ref_unit = NULL;
	return -ENODEV;
}

int ref_sensor_init(void)
{
	int ret;

	ref_sensor = ref_find("sensor");
	ret = alloc_chrdev_region(&ref_number, 0, 1, "ref_class");
	if (ret)
		return ret;
	ref_class = ref_class_create("ref_class");
	if (IS_ERR(ref_class)) {
		ret = PTR_ERR(ref_class);
		ref_class = NULL;
		unregister_chrdev_region(ref_number, 1);
		return ret;
	}
	ref_class->dev_uevent = ref_uevent;
	ret = ref_unit_exists(true);
	if (ret)
		ref_sensor_exit();
	return ret;
}

void ref_sensor_exit(void)
{
	if (!ref_class)
		return;
	ref_unit_exists(false);
	class_destroy(ref_class);
	ref_class = NULL;
	unregister_chrdev_region(ref_number, 1);
}
