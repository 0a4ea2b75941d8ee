// SPDX-License-Identifier: GPL-2.0-only
/* /dev/ref_ctl: control.h, for all reference devices. */
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/uaccess.h>

#include "reference.h"

static int ref_get(struct ref_device *dev, struct ref_request *request)
{
	int i;

	for (i = 0; i < REF_NR_OPERATIONS; i++)
		request->ran[i] = atomic64_read(&dev->ran[i]);
	request->mmap_pgoff = dev->mmap_pgoff;
	request->fault_pgoff = dev->fault_pgoff;
	request->fault_address = dev->fault_address;
	request->fault_flags = dev->fault_flags;
	request->open_flags = dev->open_flags;
	mutex_lock(&ref_opened_lock);
	request->file_flags = dev->opened ? dev->opened->f_flags : 0;
	mutex_unlock(&ref_opened_lock);
	request->count = dev->count;
	request->pos = dev->pos;
	request->command = dev->command;
	request->argument = dev->argument;
	return 0;
}

static int ref_zap(struct ref_device *dev)
{
	mutex_lock(&ref_opened_lock);
	if (dev->opened)
		unmap_mapping_range(dev->opened->f_mapping, 0, 0, 1);
	mutex_unlock(&ref_opened_lock);
	return 0;
}

static int ref_peek(struct ref_device *dev, struct ref_request *request)
{
	if (request->offset >> PAGE_SHIFT >= dev->nr_pages)
		return -EINVAL;
	request->value = *(u8 *)ref_locate(dev, request->offset);
	request->pfn = page_to_pfn(dev->pages[request->offset >> PAGE_SHIFT]);
	return 0;
}

static int ref_poke(struct ref_device *dev, const struct ref_request *request)
{
	if (request->offset >> PAGE_SHIFT >= dev->nr_pages)
		return -EINVAL;
	*(u8 *)ref_locate(dev, request->offset) = request->value;
	return 0;
}

static int ref_do(struct ref_device *dev, unsigned int command, struct ref_request *request)
{
	switch (command) {
	case REF_GET:
		return ref_get(dev, request);
	case REF_RESET:
		ref_reset(dev);
		return ref_unit_exists(true);
	case REF_UNIT:
		return ref_unit_exists(request->value);
	case REF_RETURN:
		dev->result = request->value;
		return 0;
	case REF_ZAP:
		return ref_zap(dev);
	case REF_PEEK:
		return ref_peek(dev, request);
	case REF_POKE:
		return ref_poke(dev, request);
	case REF_MASK:
		WRITE_ONCE(dev->mask, (__force __poll_t)request->value);
		wake_up_interruptible(&dev->queue);
		kill_fasync(&dev->fasync, SIGIO, POLL_IN);
		return 0;
	}
	return -ENOTTY;
}

static long ref_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	void __user *user = (void __user *)argument;
	struct ref_request request;
	struct ref_device *dev;
	int ret;

	if (_IOC_TYPE(command) != 'R' || _IOC_SIZE(command) != sizeof(request))
		return -ENOTTY;
	if (copy_from_user(&request, user, sizeof(request)))
		return -EFAULT;
	request.device[sizeof(request.device) - 1] = 0;
	dev = ref_find(request.device);
	if (!dev)
		return -ENOENT;
	ret = ref_do(dev, command, &request);
	if (!ret && copy_to_user(user, &request, sizeof(request)))
		return -EFAULT;
	return ret;
}

static const struct file_operations ref_control_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = ref_ioctl,
};

struct miscdevice ref_control = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "ref_ctl",
	.fops = &ref_control_fops,
};
