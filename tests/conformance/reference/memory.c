// SPDX-License-Identifier: GPL-2.0-only
/* The memory of a reference device: pages, of which page N begins with "PAGEnn". */
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "reference.h"

static int ref_allocate_single(struct ref_device *dev)
{
	unsigned long i;

	for (i = 0; i < dev->nr_pages; i++) {
		dev->pages[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!dev->pages[i])
			return -ENOMEM;
	}
	return 0;
}

static int ref_allocate_contiguous(struct ref_device *dev)
{
	unsigned int order = get_order(dev->nr_pages << PAGE_SHIFT);
	struct page *first = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN, order);
	unsigned long i;

	if (!first)
		return -ENOMEM;
	for (i = 0; i < dev->nr_pages; i++)
		dev->pages[i] = first + i;
	return 0;
}

static int ref_allocate_vmalloc(struct ref_device *dev)
{
	unsigned long i;

	dev->vmalloced = vmalloc_user(dev->nr_pages << PAGE_SHIFT);
	if (!dev->vmalloced)
		return -ENOMEM;
	for (i = 0; i < dev->nr_pages; i++)
		dev->pages[i] = vmalloc_to_page(dev->vmalloced + (i << PAGE_SHIFT));
	return 0;
}

/* What was allocated before a failure is for ref_free(). */
int ref_allocate(struct ref_device *dev, unsigned long nr_pages)
{
	dev->nr_pages = nr_pages;
	dev->pages = kvcalloc(nr_pages, sizeof(*dev->pages), GFP_KERNEL);
	dev->slab = kmalloc(PAGE_SIZE, GFP_KERNEL);
	if (!dev->pages || !dev->slab)
		return -ENOMEM;
	switch (dev->kind->memory) {
	case REF_SINGLE_PAGES:
		return ref_allocate_single(dev);
	case REF_CONTIGUOUS:
		return ref_allocate_contiguous(dev);
	case REF_VMALLOC:
		return ref_allocate_vmalloc(dev);
	}
	return -EINVAL;
}

void ref_free(struct ref_device *dev)
{
	unsigned long i;

	switch (dev->kind->memory) {
	case REF_SINGLE_PAGES:
		for (i = 0; dev->pages && i < dev->nr_pages && dev->pages[i]; i++)
			__free_page(dev->pages[i]);
		break;
	case REF_CONTIGUOUS:
		if (dev->pages && dev->pages[0])
			__free_pages(dev->pages[0], get_order(dev->nr_pages << PAGE_SHIFT));
		break;
	case REF_VMALLOC:
		vfree(dev->vmalloced);
		break;
	}
	kfree(dev->slab);
	kvfree(dev->pages);
}

/* Counters, contents and results as they are at the beginning. */
void ref_reset(struct ref_device *dev)
{
	unsigned long i;

	for (i = 0; i < REF_NR_OPERATIONS; i++)
		atomic64_set(&dev->ran[i], 0);
	dev->result = 0;
	dev->mmap_pgoff = 0;
	dev->fault_pgoff = 0;
	dev->fault_address = 0;
	dev->fault_flags = 0;
	dev->open_flags = 0;
	dev->count = 0;
	dev->pos = 0;
	dev->command = 0;
	dev->argument = 0;
	dev->mask = 0;
	for (i = 0; i < dev->nr_pages; i++) {
		memset(page_address(dev->pages[i]), 0, PAGE_SIZE);
		sprintf(page_address(dev->pages[i]), "PAGE%02lu", i);
	}
}

/* The byte at `offset`; only those up to the end of its page are behind it. */
void *ref_locate(struct ref_device *dev, u64 offset)
{
	return page_address(dev->pages[offset >> PAGE_SHIFT]) + offset_in_page(offset);
}
