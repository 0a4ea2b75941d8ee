// SPDX-License-Identifier: GPL-2.0-only
/*
 * Faults: pages that come, or become writable, when they are touched, and what is read and written
 * from outside. No objects of its own; areas and their holds are in area.c.
 *
 * All run with the mmap_lock of the area's mm held for read, also where the kernel has per-VMA
 * locks: it takes the mmap_lock before it calls a fault operation of an area without map_pages. The
 * mm need not be the current task's.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "internal.h"

#define MAPDEV_AROUND_SIZE	SZ_64K

#define MAPDEV_FAULT_CODES \
	((__force u32)(VM_FAULT_OOM | VM_FAULT_SIGBUS | VM_FAULT_MAJOR | VM_FAULT_HWPOISON | \
		       VM_FAULT_SIGSEGV | VM_FAULT_NOPAGE))
#define MAPDEV_FAULT_FAILED \
	((__force u32)(VM_FAULT_ERROR | VM_FAULT_NOPAGE))

static const struct {
	u32 kernel;
	u32 ours;
} mapdev_flags[] = {
	{ FAULT_FLAG_WRITE, MAPDEV_FAULT_WRITE },
	{ FAULT_FLAG_MKWRITE, MAPDEV_FAULT_MKWRITE },
	{ FAULT_FLAG_ALLOW_RETRY, MAPDEV_FAULT_ALLOW_RETRY },
	{ FAULT_FLAG_KILLABLE, MAPDEV_FAULT_KILLABLE },
	{ FAULT_FLAG_TRIED, MAPDEV_FAULT_TRIED },
	{ FAULT_FLAG_USER, MAPDEV_FAULT_USER },
	{ FAULT_FLAG_REMOTE, MAPDEV_FAULT_REMOTE },
	{ FAULT_FLAG_INSTRUCTION, MAPDEV_FAULT_INSTRUCTION },
	{ FAULT_FLAG_INTERRUPTIBLE, MAPDEV_FAULT_INTERRUPTIBLE },
	{ FAULT_FLAG_UNSHARE, MAPDEV_FAULT_UNSHARE },
	{ FAULT_FLAG_ORIG_PTE_VALID, MAPDEV_FAULT_ORIG_PTE_VALID },
};

static u32 mapdev_fault_flags(const struct vm_fault *vmf)
{
	u32 flags = 0;
	int i;

	for (i = 0; i < ARRAY_SIZE(mapdev_flags); i++)
		if (vmf->flags & mapdev_flags[i].kernel)
			flags |= mapdev_flags[i].ours;
	return flags;
}

static vm_fault_t mapdev_fault_error(s64 error)
{
	return error == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_SIGBUS;
}

static struct mapdev_call *mapdev_fault_call(struct vm_fault *vmf, u32 op)
{
	struct vm_area_struct *vma = vmf->vma;
	struct mapdev_call *call = mapdev_area_call(vma->vm_private_data, vma, op);

	if (IS_ERR(call))
		return call;
	call->request.arg[0] = vmf->address & PAGE_MASK;
	call->request.arg[1] = mapdev_fault_flags(vmf);
	call->request.arg[2] = vmf->pgoff;
	return call;
}

/* Would vmf_insert_pfn_prot() BUG()? */
static bool mapdev_may_insert_pfn(const struct vm_area_struct *vma, unsigned long pfn)
{
	if (vma->vm_flags & VM_PFNMAP)
		return !(vma->vm_flags & VM_MIXEDMAP) && !mapdev_is_cow(vma->vm_flags);
	return vma->vm_flags & VM_MIXEDMAP && !pfn_valid(pfn);
}

/* Put one page of a mapping at an address. Only the one of the fault is counted as such. */
static vm_fault_t mapdev_fault_insert(struct vm_fault *vmf, const struct mapdev_mapping *m,
				      const struct mapdev_buffer *buffer, unsigned long addr)
{
	unsigned long pgoff = m->pgoff + ((addr - m->addr) >> PAGE_SHIFT);
	struct vm_area_struct *vma = vmf->vma;
	struct page *page;
	unsigned long pfn;

	if (m->kind == MAPDEV_MAP_PFN) {
		pfn = mapdev_buffer_pfn(buffer, pgoff);
		if (!mapdev_may_insert_pfn(vma, pfn))
			return VM_FAULT_SIGBUS;
		return vmf_insert_pfn_prot(vma, addr, pfn,
					   mapdev_pgprot(m->cache, vma->vm_page_prot));
	}
	page = mapdev_counted_page(buffer, pgoff);
	if (!page || vma->vm_flags & VM_PFNMAP)
		return VM_FAULT_SIGBUS;
	if (addr != (vmf->address & PAGE_MASK)) {
		vm_insert_page(vma, addr, page);	/* fails where there is one already */
		return 0;
	}
	get_page(page);
	vmf->page = page;
	return 0;
}

/* Neighbours first: after vmf->page is set nothing may fail. */
static vm_fault_t mapdev_fault_map(struct vm_fault *vmf, struct mapdev_area *area,
				   const struct mapdev_mapping *m)
{
	struct mapdev_buffer *buffer = mapdev_mapping_buffer(area->mf->dev->session, m);
	unsigned long here = vmf->address & PAGE_MASK;
	unsigned long addr, end = m->addr + (m->nr_pages << PAGE_SHIFT);
	vm_fault_t ret = 0;

	if (!buffer || mapdev_hold(area->holds, buffer))
		return VM_FAULT_SIGBUS;
	for (addr = m->addr; addr < end && !(ret & VM_FAULT_ERROR); addr += PAGE_SIZE)
		if (addr != here)
			ret = mapdev_fault_insert(vmf, m, buffer, addr);
	if (ret & VM_FAULT_ERROR || here < m->addr || here >= end)
		return ret & VM_FAULT_ERROR;
	return mapdev_fault_insert(vmf, m, buffer, here);
}

static void mapdev_fault_range(const struct vm_fault *vmf, struct mapdev_area *area, u64 *start,
			       u64 *end)
{
	u64 size = area->vm_ops & MAPDEV_VMOP_AROUND ? MAPDEV_AROUND_SIZE : PAGE_SIZE;

	*start = max_t(u64, vmf->vma->vm_start, round_down(vmf->address, size));
	*end = min_t(u64, vmf->vma->vm_end, round_down(vmf->address, size) + size);
}

/* Do what the reply to MAPDEV_FAULT says: m[nr], inside the range that it was told. */
static vm_fault_t mapdev_fault_apply(struct vm_fault *vmf, struct mapdev_call *call,
				     const struct mapdev_mapping *m, u32 nr)
{
	struct mapdev_area *area = vmf->vma->vm_private_data;
	unsigned long here = vmf->address & PAGE_MASK;
	vm_fault_t ret, code = 0;
	bool mapped = false;
	u32 i;

	for (i = 0; i < nr; i++, m++) {
		if (!mapdev_mapping_valid(vmf->vma, m) || m->addr < call->request.arg[3] ||
		    m->addr + (m->nr_pages << PAGE_SHIFT) > call->request.arg[4])
			break;
		if (here >= m->addr && here < m->addr + (m->nr_pages << PAGE_SHIFT)) {
			if (mapped)	/* a second one would lose the first's reference */
				break;
			mapped = true;
		}
		ret = mapdev_fault_map(vmf, area, m);
		if (ret & VM_FAULT_ERROR)
			break;
		code |= ret;
	}
	if (i == nr && mapped)
		return code;
	if (vmf->page) {
		put_page(vmf->page);
		vmf->page = NULL;
	}
	return VM_FAULT_SIGBUS;
}

static vm_fault_t mapdev_fault_finish(struct vm_fault *vmf, struct mapdev_call *call, u32 result)
{
	struct mapdev_mapping *m;
	vm_fault_t ret;

	result &= MAPDEV_FAULT_CODES;
	if (result & MAPDEV_FAULT_FAILED)
		return (__force vm_fault_t)result;
	if (call->reply.len % sizeof(*m))
		return VM_FAULT_SIGBUS;
	m = mapdev_copy_payload(call);
	if (!m)
		return VM_FAULT_OOM;
	ret = mapdev_fault_apply(vmf, call, m, call->reply.len / sizeof(*m));
	kvfree(m);
	return ret | (__force vm_fault_t)result;
}

vm_fault_t mapdev_vm_fault(struct vm_fault *vmf)
{
	struct mapdev_call *call;
	vm_fault_t ret;
	s64 result;

	/* Who can't wait here comes again by another way. */
	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;
	call = mapdev_fault_call(vmf, MAPDEV_FAULT);
	if (IS_ERR(call))
		return mapdev_fault_error(PTR_ERR(call));
	mapdev_fault_range(vmf, vmf->vma->vm_private_data, &call->request.arg[3],
			   &call->request.arg[4]);
	result = mapdev_call_run(call);
	ret = result < 0 ? mapdev_fault_error(result) : mapdev_fault_finish(vmf, call, result);
	mapdev_call_end(call);
	return ret;
}

static vm_fault_t mapdev_ask_mkwrite(struct vm_fault *vmf, u32 op, unsigned long pfn)
{
	struct mapdev_call *call = mapdev_fault_call(vmf, op);
	s64 result;

	if (IS_ERR(call))
		return mapdev_fault_error(PTR_ERR(call));
	call->request.arg[3] = pfn;
	result = mapdev_call_run(call);
	mapdev_call_end(call);
	if (result < 0)
		return mapdev_fault_error(result);
	return (__force vm_fault_t)(result & MAPDEV_FAULT_CODES);
}

vm_fault_t mapdev_vm_page_mkwrite(struct vm_fault *vmf)
{
	vm_fault_t ret = mapdev_ask_mkwrite(vmf, MAPDEV_PAGE_MKWRITE, page_to_pfn(vmf->page));

	if (ret & (VM_FAULT_ERROR | VM_FAULT_NOPAGE))
		return ret;
	/*
	 * Not left to the kernel: it takes a page without an address_space for truncated, for
	 * ever.
	 */
	lock_page(vmf->page);
	return ret | VM_FAULT_LOCKED;
}

vm_fault_t mapdev_vm_pfn_mkwrite(struct vm_fault *vmf)
{
	return mapdev_ask_mkwrite(vmf, MAPDEV_PFN_MKWRITE, pte_pfn(vmf->orig_pte));
}

/*
 * What ptrace, /proc/PID/mem and their like do where memory has no struct page. 0 is what they make
 * of an area that has no such operation, so each has this one. They go on after fewer bytes than
 * they asked for.
 */
int mapdev_vm_access(struct vm_area_struct *vma, unsigned long addr, void *buf, int len, int write)
{
	struct mapdev_area *area = vma->vm_private_data;
	struct mapdev_call *call;
	s64 ret;

	if (!(area->vm_ops & MAPDEV_VMOP_ACCESS) || len <= 0)
		return 0;
	call = mapdev_area_call(area, vma, MAPDEV_ACCESS);
	if (IS_ERR(call))
		return PTR_ERR(call);
	len = min(len, MAPDEV_INLINE);
	if (write) {
		memcpy(call->request.data, buf, len);
		call->request.len = len;
	}
	call->request.arg[0] = addr;
	call->request.arg[1] = len;
	call->request.arg[2] = !!write;
	ret = mapdev_call_run(call);
	if (ret > 0 && !write)
		memcpy(buf, mapdev_call_reply_payload(call), ret);
	mapdev_call_end(call);
	return ret;
}
