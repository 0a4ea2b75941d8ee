// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buffers: memory that drivers own, and ranges of registers.
 *
 * A buffer is in its session's table until it is freed, and lives as long as somebody maps it: the
 * daemon by the control device (its VMA has a reference), clients by their areas' holds. So a
 * frame that is in a page table is never given out again. Its pages count until then.
 *
 * Pages that were mapped by reference may be pinned for longer (direct I/O): those that are
 * counted one by one are given back one by one, and the kernel frees them with the last pin.
 */
#include <linux/capability.h>
#include <linux/highmem.h>
#include <linux/ioport.h>
#include <linux/memory_hotplug.h>
#include <linux/mmzone.h>
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "internal.h"

/*
 * Offsets of the control device: the buffer's id, and 40 bits for the place in it. Payload is at
 * 0.
 */
#define MAPDEV_BUFFER_SHIFT	40
#define MAPDEV_BUFFER_LIMIT	XA_LIMIT(1, (1 << 22) - 1)
#define MAPDEV_BUFFER_MAX	(1UL << (MAPDEV_BUFFER_SHIFT - PAGE_SHIFT))

/*
 * How a buffer is mapped, whatever was asked for. RAM is always cached: the kernel's own mapping
 * of it is, and two that differ contradict each other (x86 refuses it for frames, but does not
 * look at pages; arm64 shows who had the page before, for its zeros are in the cache only).
 * Registers are what the firmware says of them on x86; elsewhere nothing but us keeps them from
 * being cached.
 */
pgprot_t mapdev_pgprot(const struct mapdev_buffer *buffer, u32 cache, pgprot_t prot)
{
	if (buffer->kind != MAPDEV_BUF_PHYS)
		return prot;
	if (!IS_ENABLED(CONFIG_X86) && cache == MAPDEV_CACHED)
		cache = MAPDEV_UNCACHED;
	switch (cache) {
	case MAPDEV_UNCACHED:
		return pgprot_noncached(prot);
	case MAPDEV_WRITECOMBINE:
		return pgprot_writecombine(prot);
	default:
		return prot;
	}
}

unsigned long mapdev_buffer_pfn(const struct mapdev_buffer *buffer, unsigned long pgoff)
{
	if (buffer->kind == MAPDEV_BUF_VMALLOC)
		return page_to_pfn(buffer->vmalloc.pages[pgoff]);
	return buffer->pfn + pgoff;
}

/* ---- contiguous memory beyond the largest order ---------------------------------------------- */

#ifdef CONFIG_CONTIG_ALLOC
/* Worth a try: memory of one zone, none of which is known to be unmovable. */
static bool mapdev_range_usable(struct zone *zone, unsigned long start, unsigned long nr)
{
	unsigned long pfn;
	struct page *page;

	for (pfn = start; pfn < start + nr; pfn++) {
		page = pfn_to_online_page(pfn);
		if (!page || page_zone(page) != zone || PageReserved(page))
			return false;
	}
	return true;
}

static unsigned long mapdev_zone_contig(struct zone *zone, unsigned long nr)
{
	unsigned long align = roundup_pow_of_two(nr);
	unsigned long pfn = ALIGN(zone->zone_start_pfn, align);

	for (; pfn + nr <= zone_end_pfn(zone); pfn += align) {
		if (fatal_signal_pending(current))
			return 0;
		cond_resched();
		if (mapdev_range_usable(zone, pfn, nr) &&
		    !mapdev_alloc_contig_range(pfn, pfn + nr, GFP_KERNEL | __GFP_NOWARN))
			return pfn;
	}
	return 0;
}

/*
 * Move what is in the way. What comes of it is not one block, but pages that are counted one by
 * one.
 */
static unsigned long mapdev_alloc_contig(unsigned long nr)
{
	unsigned long pfn = 0, i;
	int nid, type;

	for_each_online_node(nid) {
		/*
		 * Not ZONE_MOVABLE: what is mapped by its frame can't be moved, so not unplugged.
		 */
		for (type = ZONE_NORMAL; type >= 0 && !pfn; type--) {
			struct zone *zone = &NODE_DATA(nid)->node_zones[type];

			if (populated_zone(zone))
				pfn = mapdev_zone_contig(zone, nr);
		}
	}
	for (i = 0; pfn && i < nr; i++) {
		clear_highpage(pfn_to_page(pfn + i));
		cond_resched();
	}
	return pfn;
}
#else
static unsigned long mapdev_alloc_contig(unsigned long nr)
{
	return 0;
}
#endif

/* ---- kinds of memory ------------------------------------------------------------------------- */

static gfp_t mapdev_gfp(u32 flags)
{
	gfp_t gfp = flags & MAPDEV_ALLOC_ATOMIC ? GFP_NOWAIT : GFP_KERNEL;

	return gfp | __GFP_ZERO | __GFP_NOWARN | __GFP_ACCOUNT;
}

static int mapdev_alloc_pages(struct mapdev_buffer *buffer, u32 flags)
{
	unsigned int order = get_order(buffer->nr_pages << PAGE_SHIFT);
	gfp_t gfp = mapdev_gfp(flags);
	struct page *page;

	if (!is_power_of_2(buffer->nr_pages))
		return -EINVAL;
	if (order > MAPDEV_MAX_ORDER)
		return -ENOMEM;
	buffer->compound = order && flags & MAPDEV_ALLOC_COMP;
	page = alloc_pages(buffer->compound ? gfp | __GFP_COMP : gfp, order);
	if (!page)
		return -ENOMEM;
	buffer->pfn = page_to_pfn(page);
	return 0;
}

/*
 * There is no function by which a memory cgroup could be charged for a range of frames. So it
 * counts as memory that the user has locked, as what is pinned for devices does.
 */
static int mapdev_lock_range(struct mapdev_buffer *buffer)
{
	long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	struct user_struct *user = get_uid(current_user());

	if (atomic_long_add_return(buffer->nr_pages, &user->locked_vm) > limit &&
	    !capable(CAP_IPC_LOCK)) {
		atomic_long_sub(buffer->nr_pages, &user->locked_vm);
		free_uid(user);
		return -EDQUOT;
	}
	buffer->locked = user;
	return 0;
}

static void mapdev_unlock_range(struct mapdev_buffer *buffer)
{
	if (!buffer->locked)
		return;
	atomic_long_sub(buffer->nr_pages, &buffer->locked->locked_vm);
	free_uid(buffer->locked);
}

static int mapdev_alloc_range(struct mapdev_buffer *buffer, u32 flags)
{
	int ret;

	if (!(buffer->session->features & MAPDEV_FEATURE_CONTIG))
		return -EOPNOTSUPP;
	if (flags & MAPDEV_ALLOC_ATOMIC)
		return -ENOMEM;
	ret = mapdev_lock_range(buffer);
	if (ret)
		return ret;
	buffer->pfn = mapdev_alloc_contig(buffer->nr_pages);
	if (buffer->pfn)
		return 0;
	mapdev_unlock_range(buffer);
	return -ENOMEM;
}

static int mapdev_alloc_row(struct mapdev_buffer *buffer, u32 flags)
{
	unsigned long nr = buffer->nr_pages;
	void *memory;

	if (get_order(nr << PAGE_SHIFT) > MAPDEV_MAX_ORDER)
		return mapdev_alloc_range(buffer, flags);
	memory = alloc_pages_exact(nr << PAGE_SHIFT, mapdev_gfp(flags));
	if (!memory)
		return -ENOMEM;
	buffer->pfn = page_to_pfn(virt_to_page(memory));
	return 0;
}

static int mapdev_alloc_vmalloc(struct mapdev_buffer *buffer)
{
	int ret = mapdev_scattered_alloc(&buffer->vmalloc, buffer->nr_pages);

	if (!ret)
		buffer->pfn = page_to_pfn(buffer->vmalloc.pages[0]);
	return ret;
}

/* Registers, or memory that the kernel was told to leave alone; never what it uses itself. */
static int mapdev_alloc_phys(struct mapdev_buffer *buffer, u64 phys)
{
	u64 size = (u64)buffer->nr_pages << PAGE_SHIFT;
	int ret;

	if (!PAGE_ALIGNED(phys) || phys + size < phys)
		return -EINVAL;
	if (!(buffer->session->features & MAPDEV_FEATURE_PHYS) || !capable(CAP_SYS_RAWIO) ||
	    !mapdev_phys_allowed(phys, size))
		return -EPERM;
	ret = security_locked_down(LOCKDOWN_DEV_MEM);
	if (ret)
		return ret;
	if (region_intersects(phys, size, IORESOURCE_SYSTEM_RAM, IORES_DESC_NONE) !=
	    REGION_DISJOINT)
		return -EPERM;
	buffer->pfn = PHYS_PFN(phys);
	return 0;
}

static int mapdev_buffer_fill(struct mapdev_buffer *buffer, const struct mapdev_alloc *alloc)
{
	switch (buffer->kind) {
	case MAPDEV_BUF_PAGES:
		return mapdev_alloc_pages(buffer, alloc->flags);
	case MAPDEV_BUF_CONTIG:
		return mapdev_alloc_row(buffer, alloc->flags);
	case MAPDEV_BUF_VMALLOC:
		return mapdev_alloc_vmalloc(buffer);
	default:
		return mapdev_alloc_phys(buffer, alloc->phys);
	}
}

static void mapdev_buffer_empty(struct mapdev_buffer *buffer)
{
	struct page *page = pfn_to_page(buffer->pfn);
	unsigned long i;

	switch (buffer->kind) {
	case MAPDEV_BUF_PAGES:
		__free_pages(page, get_order(buffer->nr_pages << PAGE_SHIFT));
		break;
	case MAPDEV_BUF_CONTIG:
		/* Not free_contig_range(), which complains of pages that are pinned. */
		for (i = 0; i < buffer->nr_pages; i++)
			__free_page(pfn_to_page(buffer->pfn + i));
		mapdev_unlock_range(buffer);
		break;
	case MAPDEV_BUF_VMALLOC:
		mapdev_scattered_free(&buffer->vmalloc);
		break;
	}
}

/* ---- accounts and lifetimes ------------------------------------------------------------------ */

static bool mapdev_counts(const struct mapdev_buffer *buffer)
{
	return buffer->kind != MAPDEV_BUF_PHYS;
}

static int mapdev_charge(struct mapdev_buffer *buffer)
{
	struct mapdev_session *s = buffer->session;

	if (!mapdev_counts(buffer))
		return 0;
	if (atomic_long_add_return(buffer->nr_pages, &s->user->pages) > s->max_pages) {
		atomic_long_sub(buffer->nr_pages, &s->user->pages);
		return -EDQUOT;
	}
	atomic_add(buffer->nr_pages, &mapdev_nr_pages);
	return 0;
}

static void mapdev_uncharge(struct mapdev_buffer *buffer)
{
	if (!mapdev_counts(buffer))
		return;
	atomic_long_sub(buffer->nr_pages, &buffer->session->user->pages);
	atomic_sub(buffer->nr_pages, &mapdev_nr_pages);
}

static void mapdev_buffer_release(struct kref *ref)
{
	struct mapdev_buffer *buffer = container_of(ref, struct mapdev_buffer, ref);

	mapdev_buffer_empty(buffer);
	mapdev_uncharge(buffer);
	kfree(buffer);
}

void mapdev_buffer_put(struct mapdev_buffer *buffer)
{
	kref_put(&buffer->ref, mapdev_buffer_release);
}

/* Return: the buffer, with a reference for the caller, or NULL. */
struct mapdev_buffer *mapdev_buffer_find(struct mapdev_session *s, u32 id)
{
	struct mapdev_buffer *buffer;

	xa_lock(&s->buffers);
	buffer = xa_load(&s->buffers, id);
	if (buffer)
		kref_get(&buffer->ref);
	xa_unlock(&s->buffers);
	return buffer;
}

static struct mapdev_buffer *mapdev_buffer_new(struct mapdev_session *s,
					       const struct mapdev_alloc *alloc)
{
	struct mapdev_buffer *buffer;
	int ret;

	buffer = kzalloc(sizeof(*buffer), GFP_KERNEL_ACCOUNT);
	if (!buffer)
		return ERR_PTR(-ENOMEM);
	kref_init(&buffer->ref);
	buffer->session = s;
	buffer->serial = mapdev_new_id();
	buffer->kind = alloc->kind;
	buffer->cache = alloc->cache;
	buffer->nr_pages = alloc->nr_pages;
	ret = mapdev_charge(buffer);
	if (ret)
		goto err_free;
	ret = mapdev_buffer_fill(buffer, alloc);
	if (ret)
		goto err_uncharge;
	return buffer;

err_uncharge:
	mapdev_uncharge(buffer);
err_free:
	kfree(buffer);
	return ERR_PTR(ret);
}

static u64 mapdev_buffer_address(const struct mapdev_buffer *buffer)
{
	switch (buffer->kind) {
	case MAPDEV_BUF_PHYS:
		return 0;
	case MAPDEV_BUF_VMALLOC:
		return (unsigned long)buffer->vmalloc.address;
	default:
		return (unsigned long)page_address(pfn_to_page(buffer->pfn));
	}
}

/**
 * mapdev_buffer_alloc - MAPDEV_IOC_ALLOC
 * @s: the session; its mutex is held
 * @alloc: what is wished for, and what came of it
 *
 * Return: 0, EINVAL, ENOMEM, EDQUOT, EPERM and EOPNOTSUPP (a feature that was not granted).
 */
int mapdev_buffer_alloc(struct mapdev_session *s, struct mapdev_alloc *alloc)
{
	struct mapdev_buffer *buffer;
	int ret;

	if (alloc->kind > MAPDEV_BUF_PHYS || alloc->cache > MAPDEV_WRITECOMBINE ||
	    alloc->flags & ~(MAPDEV_ALLOC_COMP | MAPDEV_ALLOC_ATOMIC) || !alloc->nr_pages ||
	    alloc->nr_pages > MAPDEV_BUFFER_MAX || alloc->reserved[0] || alloc->reserved[1])
		return -EINVAL;
	buffer = mapdev_buffer_new(s, alloc);
	if (IS_ERR(buffer))
		return PTR_ERR(buffer);
	ret = xa_alloc_cyclic(&s->buffers, &buffer->id, buffer, MAPDEV_BUFFER_LIMIT,
			      &s->next_buffer, GFP_KERNEL);
	if (ret < 0) {
		mapdev_buffer_put(buffer);
		return ret;
	}
	alloc->id = buffer->id;
	alloc->pfn = buffer->pfn;
	alloc->address = mapdev_buffer_address(buffer);
	alloc->mmap_offset = (u64)buffer->id << MAPDEV_BUFFER_SHIFT;
	return 0;
}

/* MAPDEV_IOC_FREE; 0 or ENOENT. */
int mapdev_buffer_free(struct mapdev_session *s, u32 id)
{
	struct mapdev_buffer *buffer = xa_erase(&s->buffers, id);

	if (!buffer)
		return -ENOENT;
	mapdev_buffer_put(buffer);
	return 0;
}

static int mapdev_copy_pfns(const struct mapdev_buffer *buffer, const struct mapdev_pfns *pfns)
{
	u64 __user *to = u64_to_user_ptr(pfns->pfns);
	u64 end, i;

	if (pfns->reserved || check_add_overflow(pfns->pgoff, pfns->count, &end) ||
	    end > buffer->nr_pages)
		return -EINVAL;
	for (i = 0; i < pfns->count; i++) {
		if (put_user((u64)mapdev_buffer_pfn(buffer, pfns->pgoff + i), to + i))
			return -EFAULT;
		cond_resched();
	}
	return 0;
}

/* MAPDEV_IOC_PFNS; 0, ENOENT, EINVAL, EFAULT. */
int mapdev_buffer_pfns(struct mapdev_session *s, const struct mapdev_pfns *pfns)
{
	struct mapdev_buffer *buffer = mapdev_buffer_find(s, pfns->id);
	int ret;

	if (!buffer)
		return -ENOENT;
	ret = mapdev_copy_pfns(buffer, pfns);
	mapdev_buffer_put(buffer);
	return ret;
}

u64 mapdev_features(void)
{
	u64 features = MAPDEV_FEATURE_SHOW | MAPDEV_FEATURE_MODEL;

	if (IS_ENABLED(CONFIG_CONTIG_ALLOC))
		features |= MAPDEV_FEATURE_CONTIG;
	if (capable(CAP_SYS_RAWIO))
		features |= MAPDEV_FEATURE_PHYS;
	return features;
}

/* ---- the daemon's mappings ------------------------------------------------------------------- */

static void mapdev_buffer_vm_open(struct vm_area_struct *vma)
{
	struct mapdev_buffer *buffer = vma->vm_private_data;

	kref_get(&buffer->ref);
}

static void mapdev_buffer_vm_close(struct vm_area_struct *vma)
{
	mapdev_buffer_put(vma->vm_private_data);
}

static const struct vm_operations_struct mapdev_buffer_vm_ops = {
	.open = mapdev_buffer_vm_open,
	.close = mapdev_buffer_vm_close,
};

static int mapdev_buffer_map(struct mapdev_buffer *buffer, struct vm_area_struct *vma)
{
	unsigned long pgoff = vma->vm_pgoff & (MAPDEV_BUFFER_MAX - 1);

	if (pgoff >= buffer->nr_pages || vma_pages(vma) > buffer->nr_pages - pgoff)
		return -EINVAL;
	vma->vm_page_prot = mapdev_pgprot(buffer, buffer->cache, vma->vm_page_prot);
	if (buffer->kind == MAPDEV_BUF_VMALLOC)
		return remap_vmalloc_range(vma, buffer->vmalloc.address, pgoff);
	return remap_pfn_range(vma, vma->vm_start, buffer->pfn + pgoff,
			       vma->vm_end - vma->vm_start, vma->vm_page_prot);
}

/* mmap of the control device, beyond the payload: 0, ENOENT, EINVAL, ENOMEM. */
int mapdev_buffer_mmap(struct mapdev_session *s, struct vm_area_struct *vma)
{
	u32 id = vma->vm_pgoff >> (MAPDEV_BUFFER_SHIFT - PAGE_SHIFT);
	struct mapdev_buffer *buffer = mapdev_buffer_find(s, id);
	int ret;

	if (!buffer)
		return -ENOENT;
	ret = mapdev_buffer_map(buffer, vma);
	if (ret) {
		mapdev_buffer_put(buffer);
		return ret;
	}
	vma->vm_private_data = buffer;
	vma->vm_ops = &mapdev_buffer_vm_ops;
	return 0;
}
