// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory for buffers of the kind vmalloc, and for payload: pages from anywhere, in a row for the
 * kernel. Not vmalloc_user(), whose pages no memory cgroup is charged for.
 */
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "internal.h"

/**
 * mapdev_scattered_alloc - allocate zeroed memory, for remap_vmalloc_range()
 * @memory: what it is; its members may be anything before
 * @nr_pages: how much
 *
 * Return: 0, ENOMEM, or EINTR: the task is being killed.
 */
int mapdev_scattered_alloc(struct mapdev_scattered *memory, unsigned long nr_pages)
{
	int ret = -ENOMEM;

	*memory = (struct mapdev_scattered){};
	memory->pages = kvcalloc(nr_pages, sizeof(*memory->pages), GFP_KERNEL_ACCOUNT);
	if (!memory->pages)
		return -ENOMEM;
	for (; memory->nr_pages < nr_pages; memory->nr_pages++) {
		struct page *page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN);

		if (!page)
			goto err;
		memory->pages[memory->nr_pages] = page;
		if (fatal_signal_pending(current)) {
			memory->nr_pages++;
			ret = -EINTR;
			goto err;
		}
		cond_resched();
	}
	memory->address = vmap(memory->pages, nr_pages, VM_MAP | VM_USERMAP, PAGE_KERNEL);
	if (memory->address)
		return 0;
err:
	mapdev_scattered_free(memory);
	return ret;
}

/* Pages that somebody has pinned are free with the last pin. */
void mapdev_scattered_free(struct mapdev_scattered *memory)
{
	unsigned long i;

	vunmap(memory->address);
	for (i = 0; i < memory->nr_pages; i++) {
		__free_page(memory->pages[i]);
		cond_resched();
	}
	kvfree(memory->pages);
	*memory = (struct mapdev_scattered){};
}
