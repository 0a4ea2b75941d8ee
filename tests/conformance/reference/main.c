// SPDX-License-Identifier: GPL-2.0-only
/* The list of all reference devices, and their making. */
#include <linux/module.h>
#include <linux/slab.h>

#include "reference.h"

#define REF_LARGEST_BLOCK (4UL << 20)	/* bytes that alloc_pages gives in a row, on all kernels */

static unsigned long bench_size;
module_param(bench_size, ulong, 0444);
MODULE_PARM_DESC(bench_size, "bytes of each ref_bench_ device; 0 (default): there are none");

static const struct ref_kind ref_kinds[] = {
	{ "pfn", REF_CONTIGUOUS, ref_fill_pfn },
	{ "vmalloc", REF_VMALLOC, ref_fill_vmalloc },
	{ "insert", REF_SINGLE_PAGES, ref_fill_insert },
	{ "inserts", REF_SINGLE_PAGES, ref_fill_inserts },
	{ "fault", REF_SINGLE_PAGES, ref_fill_fault },
	{ "faultpfn", REF_SINGLE_PAGES, ref_fill_fault_pfn },
	{ "nommap", REF_SINGLE_PAGES, NULL },
	{ "err", REF_SINGLE_PAGES, ref_fill_err },
	{ "half", REF_CONTIGUOUS, ref_fill_half },
	{ "mkwrite", REF_SINGLE_PAGES, ref_fill_mkwrite },
	{ "hooks", REF_CONTIGUOUS, ref_fill_hooks },
	{ "dontcopy", REF_SINGLE_PAGES, ref_fill_dontcopy },
	{ "noclose", REF_SINGLE_PAGES, ref_fill_noclose },
	{ "mappages", REF_SINGLE_PAGES, ref_fill_mappages },
	{ "iomap", REF_CONTIGUOUS, ref_fill_iomap },
	{ "api", REF_SINGLE_PAGES, ref_fill_api },
	{ "bare", REF_SINGLE_PAGES, NULL, &ref_bare_fops },
	{ "stream", REF_SINGLE_PAGES, NULL, &ref_stream_fops },
	{ "seekless", REF_SINGLE_PAGES, NULL, &ref_seekless_fops },
	{ "ready", REF_SINGLE_PAGES, NULL, &ref_ready_fops },
	{ "commands", REF_SINGLE_PAGES, NULL, &ref_commands_fops },
	{ "refuse", REF_SINGLE_PAGES, NULL, &ref_refuse_fops },
	{ "sensor", REF_SINGLE_PAGES, NULL, &ref_bare_fops },
};

/* For benchmarks: the usual ways to map much. */
static const struct ref_kind ref_bench_kinds[] = {
	{ "bench_vmalloc", REF_VMALLOC, ref_fill_vmalloc_range },
	{ "bench_fault", REF_SINGLE_PAGES, ref_fill_fault },
	{ "bench_pfn", REF_CONTIGUOUS, ref_fill_pfn },
};

static struct ref_device *ref_devices[ARRAY_SIZE(ref_kinds) + ARRAY_SIZE(ref_bench_kinds)];
static unsigned int ref_nr_devices;

struct ref_device *ref_find(const char *name)
{
	unsigned int i;

	for (i = 0; i < ref_nr_devices; i++)
		if (!strcmp(ref_devices[i]->kind->name, name))
			return ref_devices[i];
	return NULL;
}

static void ref_device_free(struct ref_device *dev)
{
	ref_free(dev);
	kfree(dev->misc.name);
	kfree(dev);
}

static int ref_device_make(const struct ref_kind *kind, unsigned long nr_pages)
{
	struct ref_device *dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	int ret;

	if (!dev)
		return -ENOMEM;
	dev->kind = kind;
	dev->misc.minor = MISC_DYNAMIC_MINOR;
	dev->misc.mode = 0666;
	dev->misc.fops = kind->fops ?: kind->fill ? &ref_fops : &ref_fops_without_mmap;
	init_waitqueue_head(&dev->queue);
	dev->misc.name = kasprintf(GFP_KERNEL, "ref_%s", kind->name);
	ret = dev->misc.name ? ref_allocate(dev, nr_pages) : -ENOMEM;
	if (ret)
		goto fail;
	ref_reset(dev);
	ret = misc_register(&dev->misc);
	if (ret)
		goto fail;
	ref_devices[ref_nr_devices++] = dev;
	return 0;

fail:
	ref_device_free(dev);
	return ret;
}

static void ref_remove_all(void)
{
	while (ref_nr_devices) {
		struct ref_device *dev = ref_devices[--ref_nr_devices];

		misc_deregister(&dev->misc);
		ref_device_free(dev);
	}
}

static int ref_make_all(void)
{
	unsigned long bench_pages = DIV_ROUND_UP(bench_size, PAGE_SIZE);
	unsigned int i;
	int ret = 0;

	for (i = 0; !ret && i < ARRAY_SIZE(ref_kinds); i++)
		ret = ref_device_make(&ref_kinds[i], REF_NPAGES);
	for (i = 0; !ret && bench_pages && i < ARRAY_SIZE(ref_bench_kinds); i++) {
		const struct ref_kind *kind = &ref_bench_kinds[i];

		if (kind->memory != REF_CONTIGUOUS || bench_size <= REF_LARGEST_BLOCK)
			ret = ref_device_make(kind, bench_pages);
	}
	return ret;
}

static int __init ref_init(void)
{
	int ret = ref_make_all() ?: ref_sensor_init();

	if (!ret)
		ret = misc_register(&ref_control);
	if (ret) {
		ref_sensor_exit();
		ref_remove_all();
	}
	return ret;
}

static void __exit ref_exit(void)
{
	misc_deregister(&ref_control);
	ref_sensor_exit();
	ref_remove_all();
}

module_init(ref_init);
module_exit(ref_exit);

MODULE_DESCRIPTION("Reference devices of mapdev's conformance suite");
MODULE_LICENSE("GPL");
