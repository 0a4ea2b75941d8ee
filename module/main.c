// SPDX-License-Identifier: GPL-2.0-only
/*
 * mapdev: character devices, mmap included, that a daemon in user space serves. README.md tells
 * how it works, mapdev.h what daemon and module say to each other, internal.h which objects there
 * are.
 *
 * Here: parameters, the module's begin and end, and what it counts.
 */
#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "internal.h"

static unsigned int group;
module_param(group, uint, 0444);
MODULE_PARM_DESC(group, "gid of a group that may open /dev/mapdev; 0: root only (default)");

static unsigned long max_mb;
module_param(max_mb, ulong, 0644);
MODULE_PARM_DESC(max_mb, "MiB of buffers that a user may have; 0: half of memory (default)");

static unsigned int timeout_ms = 30000;
module_param(timeout_ms, uint, 0644);
MODULE_PARM_DESC(timeout_ms, "how long a client waits for the daemon, in ms (default: 30000)");

static unsigned int max_devices = 4096;
module_param(max_devices, uint, 0644);
MODULE_PARM_DESC(max_devices, "devices, classes and drivers that a user may have (default: 4096)");

#define MAPDEV_MAX_RANGES	16

static char *raw[MAPDEV_MAX_RANGES];
static unsigned int nr_raw;
module_param_array(raw, charp, &nr_raw, 0444);
MODULE_PARM_DESC(raw, "physical ranges for MAPDEV_BUF_PHYS: ADDRESS+SIZE[,...] (default: none)");

static struct {
	u64 start;
	u64 size;
} mapdev_ranges[MAPDEV_MAX_RANGES];

struct class *mapdev_class;
static struct dentry *mapdev_debugfs;

atomic_t mapdev_nr_pages, mapdev_nr_areas, mapdev_nr_files, mapdev_nr_sessions;
atomic_t mapdev_nr_payload;
static atomic64_t mapdev_last_id;

/* For files, areas and buffers: never 0, never used again. */
u64 mapdev_new_id(void)
{
	return atomic64_inc_return(&mapdev_last_id);
}

unsigned long mapdev_max_pages(void)
{
	unsigned long mb = READ_ONCE(max_mb);

	return mb ? mb << (20 - PAGE_SHIFT) : totalram_pages() / 2;
}

unsigned int mapdev_timeout_ms(void)
{
	return READ_ONCE(timeout_ms) ?: 30000;
}

int mapdev_max_devices(void)
{
	return min_t(unsigned int, READ_ONCE(max_devices), INT_MAX);
}

bool mapdev_phys_allowed(u64 start, u64 size)
{
	unsigned int i;

	for (i = 0; i < nr_raw; i++)
		if (start >= mapdev_ranges[i].start && size <= mapdev_ranges[i].size &&
		    start - mapdev_ranges[i].start <= mapdev_ranges[i].size - size)
			return true;
	return false;
}

static int __init mapdev_parse_ranges(void)
{
	char *end;
	unsigned int i;

	for (i = 0; i < nr_raw; i++) {
		mapdev_ranges[i].start = memparse(raw[i], &end);
		if (*end != '+')
			goto err;
		mapdev_ranges[i].size = memparse(end + 1, &end);
		if (*end || !mapdev_ranges[i].size)
			goto err;
	}
	return 0;
err:
	pr_err("mapdev: raw=%s is not ADDRESS+SIZE\n", raw[i]);
	return -EINVAL;
}

/* ---- the control device: not a misc device, since its node has a group ----------------------- */

static struct device *mapdev_control;
static struct cdev mapdev_control_cdev;
static DECLARE_COMPLETION(mapdev_control_freed);

static char *mapdev_control_devnode(mapdev_devnode_const struct device *dev, umode_t *mode,
				    kuid_t *uid, kgid_t *gid)
{
	if (mode)
		*mode = group ? 0660 : 0600;
	if (gid)
		*gid = make_kgid(&init_user_ns, group);
	return NULL;
}

static const struct device_type mapdev_control_type = {
	.name = "control",
	.devnode = mapdev_control_devnode,
};

static void mapdev_control_free(struct device *dev)
{
	kfree(dev);
	complete(&mapdev_control_freed);
}

/* Others may have references still: the module, with what they call, must not go before them. */
static void mapdev_control_put(void)
{
	put_device(mapdev_control);
	wait_for_completion(&mapdev_control_freed);
}

static int __init mapdev_control_add(void)
{
	int ret = -ENOMEM;

	mapdev_control = kzalloc(sizeof(*mapdev_control), GFP_KERNEL);
	if (!mapdev_control)
		return -ENOMEM;
	device_initialize(mapdev_control);
	mapdev_control->class = mapdev_class;
	mapdev_control->type = &mapdev_control_type;
	mapdev_control->release = mapdev_control_free;
	mapdev_control->devt = mapdev_numbers;
	cdev_init(&mapdev_control_cdev, &mapdev_control_fops);
	mapdev_control_cdev.owner = THIS_MODULE;
	ret = dev_set_name(mapdev_control, "mapdev");
	if (!ret)
		ret = cdev_device_add(&mapdev_control_cdev, mapdev_control);
	if (ret)
		mapdev_control_put();
	return ret;
}

static void mapdev_control_del(void)
{
	cdev_device_del(&mapdev_control_cdev, mapdev_control);
	mapdev_control_put();
}

/* ---- begin and end -------------------------------------------------------------------------- */

/* For tests and for the curious; nothing depends on it. */
static void __init mapdev_debugfs_add(void)
{
	mapdev_debugfs = debugfs_create_dir("mapdev", NULL);
	debugfs_create_atomic_t("sessions", 0444, mapdev_debugfs, &mapdev_nr_sessions);
	debugfs_create_atomic_t("files", 0444, mapdev_debugfs, &mapdev_nr_files);
	debugfs_create_atomic_t("areas", 0444, mapdev_debugfs, &mapdev_nr_areas);
	debugfs_create_atomic_t("pages", 0444, mapdev_debugfs, &mapdev_nr_pages);
	debugfs_create_atomic_t("payload", 0444, mapdev_debugfs, &mapdev_nr_payload);
}

static int __init mapdev_module_init(void)
{
	int ret;

	ret = mapdev_parse_ranges();
	if (ret)
		return ret;
	mapdev_area_init();
	ret = mapdev_call_init();
	if (ret)
		return ret;
	mapdev_class = mapdev_class_create("mapdev");
	ret = PTR_ERR_OR_ZERO(mapdev_class);
	if (ret)
		goto err_call;
	ret = mapdev_device_init();
	if (ret)
		goto err_class;
	ret = mapdev_control_add();
	if (ret)
		goto err_device;
	mapdev_debugfs_add();
	return 0;

err_device:
	mapdev_device_exit();
err_class:
	class_destroy(mapdev_class);
err_call:
	mapdev_call_exit();
	return ret;
}

/* Whoever has anything of ours uses the module, so that nothing is left when this is called. */
static void __exit mapdev_module_exit(void)
{
	debugfs_remove(mapdev_debugfs);
	mapdev_control_del();
	mapdev_device_exit();
	class_destroy(mapdev_class);
	mapdev_call_exit();
}

module_init(mapdev_module_init);
module_exit(mapdev_module_exit);
MODULE_DESCRIPTION("Character devices served by a process, mmap included");
MODULE_VERSION("1.2");
MODULE_LICENSE("GPL");
