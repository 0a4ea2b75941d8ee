// SPDX-License-Identifier: GPL-2.0-only
/*
 * What struct page says of a frame: a snapshot, taken without a reference, so that what is read of
 * a page of others may be outdated, or contradict itself, when it arrives. It keeps no state.
 */
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/nodemask.h>

#include "internal.h"

static unsigned long mapdev_nr_frames(void)
{
	unsigned long end = 0;
	int nid;

	for_each_online_node(nid)
		end = max(end, pgdat_end_pfn(NODE_DATA(nid)));
	return end;
}

static bool mapdev_buffer_has(const struct mapdev_buffer *buffer, unsigned long pfn)
{
	unsigned long i;

	if (buffer->kind != MAPDEV_BUF_VMALLOC)
		return pfn - buffer->pfn < buffer->nr_pages;
	for (i = 0; i < buffer->nr_pages; i++)
		if (mapdev_buffer_pfn(buffer, i) == pfn)
			return true;
	return false;
}

static void mapdev_find_owner(struct mapdev_session *s, struct mapdev_page *info)
{
	struct mapdev_buffer *buffer;
	unsigned long id;

	xa_for_each(&s->buffers, id, buffer) {
		if (mapdev_buffer_has(buffer, info->pfn)) {
			info->flags |= MAPDEV_PAGE_BUFFER;
			info->buffer = id;
			return;
		}
		cond_resched();
	}
}

/* Shares its place with the type of pages that are not mapped: then it is far below zero. */
static int mapdev_mapcount(struct page *page)
{
	return max(atomic_read(&page->_mapcount) + 1, 0);
}

static unsigned int mapdev_order(struct page *page, struct page *head)
{
	if (PageBuddy(page))
		return READ_ONCE(page_private(page));
	return PageHead(head) ? compound_order(head) : 0;
}

/**
 * mapdev_page_info - MAPDEV_IOC_PAGE
 * @s: the session; its mutex is held, so that its buffers stay
 * @info: pfn is given
 *
 * Return: 0, or EINVAL: there is no such frame.
 */
int mapdev_page_info(struct mapdev_session *s, struct mapdev_page *info)
{
	u64 nr_frames = mapdev_nr_frames();
	struct page *page, *head;

	page = info->pfn < nr_frames ? pfn_to_online_page(info->pfn) : NULL;
	if (!page || info->reserved)
		return -EINVAL;
	head = compound_head(page);
	*info = (struct mapdev_page){
		.pfn = info->pfn,
		.flags = (PageReserved(page) ? MAPDEV_PAGE_RESERVED : 0) |
			 (PageHead(page) ? MAPDEV_PAGE_HEAD : 0) |
			 (PageTail(page) ? MAPDEV_PAGE_TAIL : 0) |
			 (PageSlab(page) ? MAPDEV_PAGE_SLAB : 0) |
			 (PageBuddy(page) ? MAPDEV_PAGE_BUDDY : 0),
		.order = mapdev_order(page, head),
		.refcount = page_count(page),
		.mapcount = mapdev_mapcount(page),
		.head = page_to_pfn(head),
		.address = (unsigned long)page_address(page),
		.raw_flags = mapdev_page_flags(page),
		.nr_frames = nr_frames,
	};
	mapdev_find_owner(s, info);
	return 0;
}
