// SPDX-License-Identifier: GPL-2.0-only
/*
 * Areas: VMAs that map a device.
 *
 * An area is what a VMA's vm_private_data points to. It lives as long as the VMA, or its last
 * notice if that is longer. All areas that came of one mmap call, by fork, split and mremap, share
 * its holds: references on the buffers that it mapped, so that what is in a page table has an
 * owner. They are dropped with the last of these areas.
 *
 * Which operations an area has is a matter of its driver, and of consequence to the kernel; so
 * there is one static vm_operations_struct for each set of them. open and close are always there.
 *
 * All run with the mmap_lock held: mmap, may_split, mremap and mprotect for write; faults for
 * read, under per-VMA locks as well: the kernel takes the mmap_lock before it calls a fault
 * operation of an area without map_pages.
 */
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/overflow.h>
#include <linux/slab.h>

#include "internal.h"

#define MAPDEV_VMOP_CALLS	(MAPDEV_VMOP_MPROTECT * 2 - 1)
#define MAPDEV_VMOP_ALL		(MAPDEV_VMOP_ACCESS * 2 - 1)

#define MAPDEV_SETTABLE (MAPDEV_VM_IO | MAPDEV_VM_DONTCOPY | MAPDEV_VM_DONTEXPAND | \
			 MAPDEV_VM_DONTDUMP | MAPDEV_VM_PFNMAP | MAPDEV_VM_MIXEDMAP)
#define MAPDEV_MAY_SHIFT	4	/* from VM_READ to VM_MAYREAD, and so on */
#define MAPDEV_CLEARABLE (MAPDEV_VM_MAYREAD | MAPDEV_VM_MAYWRITE | MAPDEV_VM_MAYEXEC)

static struct vm_operations_struct mapdev_vm_ops[MAPDEV_VMOP_CALLS + 1] __ro_after_init;

/* ---- flags ---------------------------------------------------------------------------------- */

static const struct {
	u64 ours;
	vm_flags_t kernels;
} mapdev_vm_flags[] = {
#define FLAG(name) { MAPDEV_VM_##name, VM_##name }
	FLAG(READ), FLAG(WRITE), FLAG(EXEC), FLAG(SHARED),
	FLAG(MAYREAD), FLAG(MAYWRITE), FLAG(MAYEXEC), FLAG(MAYSHARE),
	FLAG(GROWSDOWN), FLAG(PFNMAP), FLAG(LOCKED), FLAG(IO),
	FLAG(DONTCOPY), FLAG(DONTEXPAND), FLAG(ACCOUNT), FLAG(NORESERVE),
	FLAG(HUGETLB), FLAG(DONTDUMP), FLAG(MIXEDMAP),
#undef FLAG
};

static u64 mapdev_flags_out(vm_flags_t flags)
{
	u64 out = 0;
	int i;

	for (i = 0; i < ARRAY_SIZE(mapdev_vm_flags); i++)
		if (flags & mapdev_vm_flags[i].kernels)
			out |= mapdev_vm_flags[i].ours;
	return out;
}

static vm_flags_t mapdev_flags_in(u64 flags)
{
	vm_flags_t in = 0;
	int i;

	for (i = 0; i < ARRAY_SIZE(mapdev_vm_flags); i++)
		if (flags & mapdev_vm_flags[i].ours)
			in |= mapdev_vm_flags[i].kernels;
	return in;
}

struct mapdev_vma mapdev_vma(const struct vm_area_struct *vma)
{
	return (struct mapdev_vma){
		.vm_start = vma->vm_start,
		.vm_end = vma->vm_end,
		.vm_pgoff = vma->vm_pgoff,
		.vm_flags = mapdev_flags_out(vma->vm_flags),
	};
}

bool mapdev_is_cow(vm_flags_t flags)
{
	return (flags & (VM_SHARED | VM_MAYWRITE)) == VM_MAYWRITE;
}

/* ---- areas and holds ------------------------------------------------------------------------ */

static void mapdev_holds_put(struct mapdev_holds *holds)
{
	struct mapdev_buffer *buffer;
	unsigned long serial;

	if (!refcount_dec_and_test(&holds->ref))
		return;
	xa_for_each(&holds->buffers, serial, buffer)
		mapdev_buffer_put(buffer);
	xa_destroy(&holds->buffers);
	kfree(holds);
}

/* Takes over the reference on the buffer, whatever comes of it. */
int mapdev_hold(struct mapdev_holds *holds, struct mapdev_buffer *buffer)
{
	int ret = xa_insert(&holds->buffers, buffer->serial, buffer, GFP_KERNEL_ACCOUNT);

	if (ret)
		mapdev_buffer_put(buffer);
	return ret == -EBUSY ? 0 : ret;		/* EBUSY: it holds this one already */
}

static void mapdev_area_put(struct mapdev_area *area)
{
	if (!refcount_dec_and_test(&area->ref))
		return;
	kfree(area);
	atomic_dec(&mapdev_nr_areas);
}

/* Its VMA is gone: it has no file any more, and its holds are dropped. */
static void mapdev_area_end(struct mapdev_area *area)
{
	spin_lock(&area->mf->dev->session->lock);
	list_del(&area->node);
	spin_unlock(&area->mf->dev->session->lock);
	if (area->holds)
		mapdev_holds_put(area->holds);
}

static void mapdev_opened_done(struct mapdev_notice *notice)
{
	mapdev_area_put(container_of(notice, struct mapdev_area, opened));
}

static void mapdev_closed_done(struct mapdev_notice *notice)
{
	mapdev_area_put(container_of(notice, struct mapdev_area, closed));
}

static struct mapdev_area *mapdev_area_new(struct mapdev_file *mf, gfp_t gfp)
{
	struct mapdev_area *area = kzalloc(sizeof(*area), gfp);

	if (!area)
		return NULL;
	refcount_set(&area->ref, 1);
	area->id = mapdev_new_id();
	area->mf = mf;
	spin_lock(&mf->dev->session->lock);
	list_add(&area->node, &mf->areas);
	spin_unlock(&mf->dev->session->lock);
	area->opened.op = MAPDEV_VMA_OPEN;
	area->opened.done = mapdev_opened_done;
	area->closed.op = MAPDEV_VMA_CLOSE;
	area->closed.done = mapdev_closed_done;
	atomic_inc(&mapdev_nr_areas);
	return area;
}

static void mapdev_area_describe(struct mapdev_area *area, struct mapdev_notice *notice,
				 const struct vm_area_struct *vma)
{
	notice->device = area->mf->dev->id;
	notice->file = area->mf->id;
	notice->area = area->id;
	notice->vma = mapdev_vma(vma);
}

static void mapdev_area_notify(struct mapdev_area *area, struct mapdev_notice *notice,
			       const struct vm_area_struct *vma)
{
	mapdev_area_describe(area, notice, vma);
	refcount_inc(&area->ref);
	mapdev_notify(area->mf->dev->session, notice);
}

/* The id of the area that a VMA is, if it is one of this session's; else 0. */
u64 mapdev_area_id(struct mapdev_session *s, const struct vm_area_struct *vma)
{
	struct mapdev_area *area = vma->vm_private_data;

	if (vma->vm_ops < mapdev_vm_ops || vma->vm_ops > &mapdev_vm_ops[MAPDEV_VMOP_CALLS])
		return 0;
	return area->mf->dev->session == s ? area->id : 0;
}

/* ---- operations that the daemon carries out -------------------------------------------------- */

struct mapdev_call *mapdev_area_call(struct mapdev_area *area, struct vm_area_struct *vma, u32 op)
{
	struct mapdev_call *call = mapdev_call_new(area->mf, vma->vm_file, op);

	if (IS_ERR(call))
		return call;
	call->mm = vma->vm_mm;
	call->locked = true;
	call->killable = true;
	call->request.area = area->id;
	call->request.vma = mapdev_vma(vma);
	return call;
}

static int mapdev_ask(struct vm_area_struct *vma, u32 op, u64 arg0, u64 arg1, u64 arg2)
{
	struct mapdev_call *call = mapdev_area_call(vma->vm_private_data, vma, op);
	int ret;

	if (IS_ERR(call))
		return PTR_ERR(call);
	call->request.arg[0] = arg0;
	call->request.arg[1] = arg1;
	call->request.arg[2] = arg2;
	ret = mapdev_call_run(call);
	mapdev_call_end(call);
	return ret;
}

static int mapdev_vm_may_split(struct vm_area_struct *vma, unsigned long addr)
{
	return mapdev_ask(vma, MAPDEV_MAY_SPLIT, addr, 0, 0);
}

static int mapdev_vm_mremap(struct vm_area_struct *vma)
{
	return mapdev_ask(vma, MAPDEV_MREMAP, 0, 0, 0);
}

static int mapdev_vm_mprotect(struct vm_area_struct *vma, unsigned long start, unsigned long end,
			      unsigned long newflags)
{
	return mapdev_ask(vma, MAPDEV_MPROTECT, start, end, mapdev_flags_out(newflags));
}

/* A copy, which can't be refused; so its memory must be there. */
static void mapdev_vm_open(struct vm_area_struct *vma)
{
	struct mapdev_area *from = vma->vm_private_data;
	struct mapdev_area *area = mapdev_area_new(from->mf, GFP_KERNEL_ACCOUNT | __GFP_NOFAIL);

	area->vm_ops = from->vm_ops;
	area->cache = from->cache;
	area->holds = from->holds;
	refcount_inc(&area->holds->ref);
	vma->vm_private_data = area;
	if (!(area->vm_ops & MAPDEV_VMOP_NOTICES))
		return;
	area->opened.arg[0] = from->id;
	area->opened.arg[1] = vma->vm_mm != current->mm;
	mapdev_area_notify(area, &area->opened, vma);
}

static void mapdev_vm_close(struct vm_area_struct *vma)
{
	struct mapdev_area *area = vma->vm_private_data;

	if (area->vm_ops & MAPDEV_VMOP_NOTICES)
		mapdev_area_notify(area, &area->closed, vma);
	mapdev_area_end(area);
	mapdev_area_put(area);
}

/**
 * mapdev_area_reap - end areas whose VMAs are gone, though nobody has said so
 * @mf: the open file, which has no VMA any more
 *
 * When ->mmap has changed the flags of a new VMA so that it continues the one before it, the kernel
 * makes one of the two, and frees the new one without ->close.
 */
void mapdev_area_reap(struct mapdev_file *mf)
{
	struct mapdev_area *area, *next;

	list_for_each_entry_safe(area, next, &mf->areas, node) {
		if (area->vm_ops & MAPDEV_VMOP_NOTICES) {
			refcount_inc(&area->ref);
			mapdev_notify(mf->dev->session, &area->closed);
		}
		mapdev_area_end(area);
		mapdev_area_put(area);
	}
}

/* ---- what a reply maps ---------------------------------------------------------------------- */

/* Is it inside the area, and are its fields of any sense? */
bool mapdev_mapping_valid(const struct vm_area_struct *vma, const struct mapdev_mapping *m)
{
	return m->nr_pages && PAGE_ALIGNED(m->addr) && m->addr >= vma->vm_start &&
	       m->addr < vma->vm_end && m->nr_pages <= (vma->vm_end - m->addr) >> PAGE_SHIFT &&
	       m->kind <= MAPDEV_MAP_PAGE && m->cache <= MAPDEV_WRITECOMBINE;
}

/* The buffer of a mapping; the caller gets a reference. */
struct mapdev_buffer *mapdev_mapping_buffer(struct mapdev_session *s,
					    const struct mapdev_mapping *m)
{
	struct mapdev_buffer *buffer = mapdev_buffer_find(s, m->buffer);
	u64 end;

	if (!buffer)
		return NULL;
	if (!check_add_overflow(m->pgoff, m->nr_pages, &end) && end <= buffer->nr_pages)
		return buffer;
	mapdev_buffer_put(buffer);
	return NULL;
}

/*
 * A page that can be mapped by reference. Registers have none; and of a block that is no compound
 * page only the first page is counted.
 */
struct page *mapdev_counted_page(const struct mapdev_buffer *buffer, unsigned long pgoff)
{
	struct page *page;

	if (buffer->kind == MAPDEV_BUF_PHYS)
		return NULL;
	page = pfn_to_page(mapdev_buffer_pfn(buffer, pgoff));
	return page_count(page) ? page : NULL;
}

static int mapdev_map_pfns(struct vm_area_struct *vma, const struct mapdev_mapping *m,
			   const struct mapdev_buffer *buffer)
{
	pgprot_t prot = mapdev_pgprot(buffer, m->cache, vma->vm_page_prot);
	unsigned long i;
	int ret = 0;

	/* mprotect takes what it does not change from there. */
	if (buffer->kind == MAPDEV_BUF_PHYS)
		vma->vm_page_prot = prot;
	if (buffer->kind != MAPDEV_BUF_VMALLOC)
		return remap_pfn_range(vma, m->addr, mapdev_buffer_pfn(buffer, m->pgoff),
				       m->nr_pages << PAGE_SHIFT, prot);
	for (i = 0; i < m->nr_pages && !ret; i++)
		ret = remap_pfn_range(vma, m->addr + (i << PAGE_SHIFT),
				      mapdev_buffer_pfn(buffer, m->pgoff + i), PAGE_SIZE, prot);
	return ret;
}

static int mapdev_map_pages(struct vm_area_struct *vma, const struct mapdev_mapping *m,
			    const struct mapdev_buffer *buffer)
{
	struct page *pages[32];
	unsigned long done, nr, i;
	int ret;

	for (done = 0; done < m->nr_pages; done += i) {
		nr = min_t(unsigned long, m->nr_pages - done, ARRAY_SIZE(pages));
		for (i = 0; i < nr; i++) {
			pages[i] = mapdev_counted_page(buffer, m->pgoff + done + i);
			if (!pages[i])
				return -EINVAL;
		}
		ret = vm_insert_pages(vma, m->addr + (done << PAGE_SHIFT), pages, &nr);
		if (ret)
			return ret;
	}
	return 0;
}

/* ---- mmap ----------------------------------------------------------------------------------- */

static bool mapdev_flags_valid(const struct mapdev_mmap *mm, vm_flags_t flags, bool pfns,
			       bool pages)
{
	if (mm->set_flags & ~MAPDEV_SETTABLE || mm->clear_flags & ~MAPDEV_CLEARABLE ||
	    mm->vm_ops & ~MAPDEV_VMOP_ALL || mm->cache > MAPDEV_WRITECOMBINE || mm->reserved)
		return false;
	/* Contradictions, on which the functions that map would BUG(). */
	if (pfns && (pages || flags & VM_MIXEDMAP))
		return false;
	if (flags & VM_PFNMAP && (pages || flags & VM_MIXEDMAP))
		return false;
	return !(flags & VM_PFNMAP && mapdev_is_cow(flags)) || pfns;
}

/* All is looked at before anything is mapped. Mappings ascend, so that none lies on another. */
static bool mapdev_mmap_valid(const struct vm_area_struct *vma, const struct mapdev_mmap *mm,
			      const struct mapdev_mapping *m, u32 len)
{
	vm_flags_t flags;
	bool used[2] = {};
	u64 end = 0;
	u32 i;

	if (len < sizeof(*mm) || (len - sizeof(*mm)) / sizeof(*m) != mm->nr_mappings ||
	    (len - sizeof(*mm)) % sizeof(*m))
		return false;
	for (i = 0; i < mm->nr_mappings; i++, m++) {
		if (!mapdev_mapping_valid(vma, m) || m->addr < end)
			return false;
		end = m->addr + (m->nr_pages << PAGE_SHIFT);
		used[m->kind] = true;
	}
	flags = vma->vm_flags & ~mapdev_flags_in(mm->clear_flags);
	flags |= mapdev_flags_in(mm->set_flags);
	return mapdev_flags_valid(mm, flags, used[MAPDEV_MAP_PFN], used[MAPDEV_MAP_PAGE]);
}

static int mapdev_map(struct mapdev_area *area, struct vm_area_struct *vma,
		      const struct mapdev_mapping *m)
{
	struct mapdev_buffer *buffer = mapdev_mapping_buffer(area->mf->dev->session, m);
	int ret;

	if (!buffer)
		return -EINVAL;
	/* Held before it is mapped; our own reference goes to the holds. */
	ret = mapdev_hold(area->holds, buffer);
	if (ret)
		return ret;
	if (m->kind == MAPDEV_MAP_PFN)
		return mapdev_map_pfns(vma, m, buffer);
	return mapdev_map_pages(vma, m, buffer);
}

/*
 * The kernel takes out of the page table what a failed mmap has mapped, but only after it. Until
 * then other threads may go on writing to it, so it must not be given back before. Pages that were
 * mapped by reference stay whose they are until that is dropped; frames do not.
 */
static void mapdev_mmap_undo(struct vm_area_struct *vma)
{
	if (vma->vm_flags & VM_PFNMAP)
		zap_vma_ptes(vma, vma->vm_start, vma->vm_end - vma->vm_start);
}

/* If this fails, what was mapped already is still there. */
static int mapdev_mmap_apply(struct mapdev_area *area, struct vm_area_struct *vma,
			     const struct mapdev_mmap *mm, u32 len)
{
	const struct mapdev_mapping *m = (const void *)(mm + 1);
	u32 i;
	int ret;

	if (!mapdev_mmap_valid(vma, mm, m, len))
		return -EINVAL;
	/*
	 * A right that is in use can't be taken away. A private area that is writable, but may not be,
	 * would be no copy-on-write area to the kernel: fork would share its pages.
	 */
	if (mapdev_flags_in(mm->clear_flags) & (vma->vm_flags << MAPDEV_MAY_SHIFT))
		return -EACCES;
	vm_flags_clear(vma, mapdev_flags_in(mm->clear_flags));
	vm_flags_set(vma, mapdev_flags_in(mm->set_flags));
	for (i = 0; i < mm->nr_mappings; i++) {
		ret = mapdev_map(area, vma, m + i);
		if (ret)
			return ret;
	}
	area->vm_ops = mm->vm_ops;
	area->cache = mm->cache;
	/* Neighbours of a page that is missing can be inserted into such areas only. */
	if (mm->vm_ops & MAPDEV_VMOP_AROUND && !(vma->vm_flags & VM_PFNMAP))
		vm_flags_set(vma, VM_MIXEDMAP);
	return 0;
}

/* A reply has come: do what it says. The area becomes the VMA's, unless it has no use for one. */
static int mapdev_mmap_finish(struct mapdev_area *area, struct vm_area_struct *vma,
			      struct mapdev_call *call)
{
	int ret = mapdev_call_own_payload(call);
	struct mapdev_mmap *mm = call->payload;

	ret = ret ?: mapdev_mmap_apply(area, vma, mm, call->reply.len);
	if (ret) {
		mapdev_mmap_undo(vma);
		area->closed.op = MAPDEV_VMA_ABORT;
		area->closed.arg[0] = -ret;
		mapdev_area_notify(area, &area->closed, vma);
	} else if (mm->vm_ops || mm->nr_mappings) {
		vma->vm_private_data = area;
		vma->vm_ops = &mapdev_vm_ops[mm->vm_ops & MAPDEV_VMOP_CALLS];
		/* In case it has no close: see mapdev_area_reap(). */
		mapdev_area_describe(area, &area->closed, vma);
		area = NULL;
	}
	/* Else it is as when a driver's mmap does nothing: no operations, nothing there. */
	if (area) {
		mapdev_area_end(area);
		mapdev_area_put(area);
	}
	return ret;
}

static struct mapdev_area *mapdev_area_first(struct mapdev_file *mf)
{
	struct mapdev_area *area = mapdev_area_new(mf, GFP_KERNEL_ACCOUNT);

	if (!area)
		return NULL;
	area->holds = kmalloc(sizeof(*area->holds), GFP_KERNEL_ACCOUNT);
	if (!area->holds) {
		mapdev_area_end(area);
		mapdev_area_put(area);
		return NULL;
	}
	refcount_set(&area->holds->ref, 1);
	xa_init(&area->holds->buffers);
	return area;
}

/**
 * mapdev_area_mmap - file_operations.mmap
 * @file: of a device
 * @vma: the new area
 *
 * Return: 0 or an error, the driver's or EIO, EINVAL, ENOMEM, ETIMEDOUT, EDEADLK.
 */
int mapdev_area_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct mapdev_area *area = mapdev_area_first(file->private_data);
	struct mapdev_call *call;
	int ret;

	if (!area)
		return -ENOMEM;
	call = mapdev_area_call(area, vma, MAPDEV_MMAP);
	ret = PTR_ERR_OR_ZERO(call);
	if (ret)
		goto err_area;
	call->request.arg[0] = vma->vm_mm->map_count;
	call->request.arg[1] = vma->vm_mm->total_vm;
	ret = mapdev_call_run(call);
	if (!ret) {
		ret = mapdev_mmap_finish(area, vma, call);
		area = NULL;
	}
	mapdev_call_end(call);
	if (!area)
		return ret;
err_area:
	mapdev_area_end(area);
	mapdev_area_put(area);
	return ret;
}

/* ---- the module's begin --------------------------------------------------------------------- */

void __init mapdev_area_init(void)
{
	struct vm_operations_struct *ops;
	u32 i;

	for (i = 0; i <= MAPDEV_VMOP_CALLS; i++) {
		ops = &mapdev_vm_ops[i];
		ops->open = mapdev_vm_open;
		ops->close = mapdev_vm_close;
		ops->access = mapdev_vm_access;
		if (i & MAPDEV_VMOP_FAULT)
			ops->fault = mapdev_vm_fault;
		if (i & MAPDEV_VMOP_PAGE_MKWRITE)
			ops->page_mkwrite = mapdev_vm_page_mkwrite;
		if (i & MAPDEV_VMOP_PFN_MKWRITE)
			ops->pfn_mkwrite = mapdev_vm_pfn_mkwrite;
		if (i & MAPDEV_VMOP_MAY_SPLIT)
			ops->may_split = mapdev_vm_may_split;
		if (i & MAPDEV_VMOP_MREMAP)
			ops->mremap = mapdev_vm_mremap;
		if (i & MAPDEV_VMOP_MPROTECT)
			ops->mprotect = mapdev_vm_mprotect;
	}
}
