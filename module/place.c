// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device's place in the device model: what the daemon asked for, and what of it is the device's.
 *
 * A place (struct mapdev_place) is the daemon's struct mapdev_model with what it points to, copied
 * before any lock is taken. mapdev_place_fill() makes it the device's; mapdev_place_leave() gives
 * back what the device belonged to when it is in sysfs no more. Attributes live on to the device's
 * release.
 *
 * Whoever reads "uevent" sees the variables as they were when the daemon gave them last: it is not
 * asked, since the driver core asks at times when it can't be.
 */
#include <linux/ctype.h>
#include <linux/device.h>
#include <linux/kstrtox.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "internal.h"

/* Variables that the kernel gives itself, and that udev believes. */
static const char * const mapdev_own_variables[] = {
	"ACTION", "DEVPATH", "SUBSYSTEM", "SEQNUM", "MAJOR", "MINOR", "DEVNAME", "DEVMODE",
	"DEVUID", "DEVGID", "DEVTYPE", "DRIVER", "SYNTH_UUID", "REMOVE_CMD",
};

static bool mapdev_variable_valid(const char *variable)
{
	size_t len = strcspn(variable, "=");
	const char *at;
	int i;

	if (!len || !variable[len])
		return false;
	for (at = variable; *at; at++)
		if (iscntrl(*at) || (at < variable + len && !isalnum(*at) && *at != '_'))
			return false;
	for (i = 0; i < ARRAY_SIZE(mapdev_own_variables); i++)
		if (strlen(mapdev_own_variables[i]) == len &&
		    !strncmp(mapdev_own_variables[i], variable, len))
			return false;
	return true;
}

/* Return: strings that end with 0, for kfree(); NULL without any; or an ERR_PTR. */
static char *mapdev_env_copy(u64 user, u32 len)
{
	char *env, *at;

	if (!len)
		return NULL;
	if (len > MAPDEV_ENV_MAX)
		return ERR_PTR(-EINVAL);
	env = memdup_user(u64_to_user_ptr(user), len);
	if (IS_ERR(env))
		return env;
	if (env[len - 1])
		goto err;
	for (at = env; at < env + len; at += strlen(at) + 1)
		if (!mapdev_variable_valid(at))
			goto err;
	return env;
err:
	kfree(env);
	return ERR_PTR(-EINVAL);
}

/**
 * mapdev_place_copy - take from the daemon what it asks for
 * @user: address of its struct mapdev_model; 0: nothing is asked for
 * @place: the copy, for mapdev_place_free()
 *
 * Return: 0, EFAULT, EINVAL, ENOMEM.
 */
int mapdev_place_copy(u64 user, struct mapdev_place *place)
{
	struct mapdev_model *model = &place->model;
	int ret;

	*place = (struct mapdev_place){};
	if (!user)
		return 0;
	if (copy_from_user(model, u64_to_user_ptr(user), sizeof(*model)))
		return -EFAULT;
	if (model->flags & ~(MAPDEV_MODEL_PLATFORM | MAPDEV_MODEL_ANY_MODE) || model->reserved ||
	    model->nr_attrs > MAPDEV_ATTRS_MAX)
		return -EINVAL;
	place->wanted = true;
	place->env = mapdev_env_copy(model->env, model->env_len);
	if (IS_ERR(place->env)) {
		ret = PTR_ERR(place->env);
		place->env = NULL;
		return ret;
	}
	if (!model->nr_attrs)
		return 0;
	place->attrs = vmemdup_user(u64_to_user_ptr(model->attrs),
				    array_size(model->nr_attrs, sizeof(*place->attrs)));
	if (IS_ERR(place->attrs)) {
		ret = PTR_ERR(place->attrs);
		place->attrs = NULL;
		mapdev_place_free(place);
		return ret;
	}
	return 0;
}

void mapdev_place_free(struct mapdev_place *place)
{
	kvfree(place->attrs);
	kfree(place->env);
	place->attrs = NULL;
	place->env = NULL;
}

/* ---- names ---------------------------------------------------------------------------------- */

static bool mapdev_model_names_valid(const struct mapdev_model *model)
{
	char name[MAPDEV_NAME_MAX];

	strscpy(name, model->name, sizeof(name));
	strreplace(name, '!', '_');	/* stands for a slash, and leads nowhere */
	if (strnlen(model->name, MAPDEV_NAME_MAX) == MAPDEV_NAME_MAX ||
	    !mapdev_word_valid(name, sizeof(name)))
		return false;
	return (!model->type[0] || mapdev_word_valid(model->type, sizeof(model->type))) &&
	       (!model->region[0] || mapdev_word_valid(model->region, sizeof(model->region)));
}

/* mapdev_names is held. Has nobody the name where the device will be, and where it will be linked? */
int mapdev_place_is_free(struct mapdev_device *dev)
{
	const char *name = dev_name(&dev->dev), *class = "", *slash = "";
	struct device *parent = dev->parent ? mapdev_shown(dev->parent) : NULL;
	struct device *other = NULL;
	char *path = NULL;
	int ret;

	if (dev->dev.class) {
		other = class_find_device_by_name(dev->dev.class, name);
		if (!parent || !parent->class) {
			class = dev->dev.class->name;
			slash = "/";
		}
	} else if (dev->dev.bus) {
		other = bus_find_device_by_name(dev->dev.bus, NULL, name);
	} else if (dev->is_platform) {
		other = bus_find_device_by_name(&platform_bus_type, NULL, name);
	}
	if (other) {
		put_device(other);
		return -EEXIST;
	}
	if (parent) {
		path = kobject_get_path(&parent->kobj, GFP_KERNEL);
		if (!path)
			return -ENOMEM;
	}
	ret = mapdev_path_free("/sys%s/%s%s%s",
			       path ?: dev->dev.class ? "/devices/virtual" :
			       dev->is_platform ? "/devices/platform" : "/devices",
			       class, slash, name);
	kfree(path);
	return ret;
}

/* ---- the device's --------------------------------------------------------------------------- */

static int mapdev_place_objects(struct mapdev_device *dev, const struct mapdev_model *model)
{
	struct mapdev_session *s = dev->session;

	dev->group = mapdev_object_use(s, model->class_id ?: model->bus,
				       model->class_id ? MAPDEV_OBJECT_CLASS : MAPDEV_OBJECT_BUS);
	if (IS_ERR(dev->group)) {
		dev->group = NULL;
		return -ENOENT;
	}
	dev->dev.class = model->class_id ? mapdev_object_class(dev->group) : NULL;
	if (model->bus)
		dev->dev.bus = mapdev_object_bus(dev->group);
	dev->bound = mapdev_object_use(s, model->driver, MAPDEV_OBJECT_DRIVER);
	if (IS_ERR(dev->bound)) {
		dev->bound = NULL;
		return -ENOENT;
	}
	/* The driver core then binds it to that, and asks no other driver. */
	if (dev->bound) {
		dev->dev.driver = mapdev_object_driver(dev->bound, model->bus ? dev->group : NULL);
		if (!dev->dev.driver)
			return -EINVAL;
	}
	return 0;
}

/**
 * mapdev_place_fill - give a device that is not shown yet its place
 * @dev: the device, whose session's mutex is held
 * @place: what the daemon asks for; what the device keeps of it is not there any more then
 * @node: path of its node below /dev
 *
 * Return: 0, EINVAL, ENOENT, EEXIST, ENOSPC, ENOMEM. What was done goes with the device.
 */
int mapdev_place_fill(struct mapdev_device *dev, struct mapdev_place *place, const char *node)
{
	const struct mapdev_model *model = &place->model;
	bool on_platform = model->flags & MAPDEV_MODEL_PLATFORM;
	struct mapdev_device *parent;
	int ret;

	if (!mapdev_model_names_valid(model) || (model->class_id && model->bus) ||
	    (on_platform && (model->class_id || model->bus || !model->driver || node)) ||
	    (!on_platform && !model->bus && model->driver))
		return -EINVAL;
	if (model->parent) {
		parent = xa_load(&dev->session->devices, model->parent);
		if (!parent || !parent->is_shown)
			return -ENOENT;
		parent->nr_children++;
		dev->parent = parent;
		dev->dev.parent = mapdev_shown(parent);
	}
	dev->is_platform = on_platform;
	dev->any_mode = model->flags & MAPDEV_MODEL_ANY_MODE;
	ret = mapdev_place_objects(dev, model);
	if (ret)
		return ret;
	ret = mapdev_attrs_add(dev, place->attrs, model->nr_attrs);
	if (ret)
		return ret;
	dev->dev.groups = dev->groups;
	dev->env = place->env;
	dev->env_len = model->env_len;
	place->env = NULL;
	strscpy(dev->type_name, model->type, sizeof(dev->type_name));
	dev->type.name = model->type[0] ? dev->type_name : NULL;
	if (node) {
		dev->node = kstrdup(node, GFP_KERNEL_ACCOUNT);
		if (!dev->node)
			return -ENOMEM;
	}
	return dev_set_name(&dev->dev, "%s", model->name);
}

/* The device is in sysfs no more; session->mutex is held. */
void mapdev_place_leave(struct mapdev_device *dev)
{
	mapdev_object_put(dev->bound);
	mapdev_object_put(dev->group);
	dev->bound = NULL;
	dev->group = NULL;
	if (dev->parent)
		dev->parent->nr_children--;
	dev->parent = NULL;
}

/* "sensor.0" is number 0 of the platform devices "sensor". */
static int mapdev_platform_add(struct mapdev_device *dev)
{
	char name[MAPDEV_NAME_MAX], canonical[MAPDEV_NAME_MAX], *dot;
	int id = PLATFORM_DEVID_NONE, ret;

	strscpy(name, dev_name(&dev->dev), sizeof(name));
	dot = strrchr(name, '.');
	if (dot && dot != name && !kstrtoint(dot + 1, 10, &id)) {
		snprintf(canonical, sizeof(canonical), "%d", id);
		if (id >= 0 && !strcmp(canonical, dot + 1))
			*dot = '\0';
		else
			id = PLATFORM_DEVID_NONE;
	}
	dev->platform = platform_device_alloc(name, id);
	if (!dev->platform)
		return -ENOMEM;
	dev->platform->dev.parent = dev->dev.parent;
	dev->platform->dev.groups = dev->groups;
	dev->platform->dev.driver = dev->dev.driver;
	ret = platform_device_add(dev->platform);
	if (ret) {
		platform_device_put(dev->platform);
		dev->platform = NULL;
	}
	return ret;
}

/* Into sysfs, with all that was said of it before. mapdev_names is held. */
int mapdev_place_add(struct mapdev_device *dev)
{
	int ret = dev->is_platform ? mapdev_platform_add(dev) : device_add(&dev->dev);

	if (!ret)
		dev->is_shown = true;
	return ret;
}

void mapdev_place_del(struct mapdev_device *dev)
{
	if (!dev->is_shown)
		return;
	dev->is_shown = false;
	if (dev->platform)
		platform_device_unregister(dev->platform);
	else
		device_del(&dev->dev);
	dev->platform = NULL;
}

/* ---- uevents -------------------------------------------------------------------------------- */

static int mapdev_env_add(struct kobj_uevent_env *env, const char *from, u32 len)
{
	const char *at;
	int ret = 0;

	for (at = from; !ret && at < from + len; at += strlen(at) + 1)
		ret = add_uevent_var(env, "%s", at);
	return ret;
}

int mapdev_place_uevent(mapdev_uevent_const struct device *device, struct kobj_uevent_env *env)
{
	mapdev_uevent_const struct mapdev_device *dev =
		container_of(device, struct mapdev_device, dev);
	int ret;

	spin_lock(&dev->session->lock);
	ret = mapdev_env_add(env, dev->env, dev->env_len);
	spin_unlock(&dev->session->lock);
	return ret;
}

#define MAPDEV_ENV_EXTRA	16	/* variables of one event */

static int mapdev_send_uevent(struct mapdev_device *dev, u32 action, char *extra, u32 len)
{
	char *envp[MAPDEV_ENV_EXTRA + 1], *at;
	int nr = 0;

	for (at = extra; at < extra + len; at += strlen(at) + 1) {
		if (nr == MAPDEV_ENV_EXTRA)
			return -ENOMEM;
		envp[nr++] = at;
	}
	envp[nr] = NULL;
	return kobject_uevent_env(&mapdev_shown(dev)->kobj, action, envp);
}

/**
 * mapdev_place_tell - MAPDEV_IOC_UEVENT
 * @s: the session
 * @uevent: what there is to tell
 *
 * Return: 0, EINVAL, EFAULT, ENOENT, ENODEV, ENOMEM.
 */
int mapdev_place_tell(struct mapdev_session *s, const struct mapdev_uevent *uevent)
{
	char *env = mapdev_env_copy(uevent->env, uevent->env_len);
	char *extra = mapdev_env_copy(uevent->extra, uevent->extra_len);
	struct mapdev_device *dev;
	int ret = -EINVAL;

	if (IS_ERR(env) || IS_ERR(extra) || uevent->action > KOBJ_UNBIND) {
		if (IS_ERR(env) || IS_ERR(extra))
			ret = IS_ERR(env) ? PTR_ERR(env) : PTR_ERR(extra);
		goto out;
	}
	mutex_lock(&s->mutex);
	ret = -ENOENT;
	dev = s->dead ? NULL : xa_load(&s->devices, uevent->device);
	if (dev && dev->is_shown) {
		spin_lock(&s->lock);
		swap(dev->env, env);
		dev->env_len = uevent->env_len;
		spin_unlock(&s->lock);
		ret = mapdev_send_uevent(dev, uevent->action, extra, uevent->extra_len);
	}
	mutex_unlock(&s->mutex);
out:
	if (!IS_ERR(env))
		kfree(env);
	if (!IS_ERR(extra))
		kfree(extra);
	return ret;
}
