// SPDX-License-Identifier: GPL-2.0-only
/*
 * Faults: pages that come, or become writable, when they are touched, and what is read and written
 * from outside. No objects of its own; areas and their holds are in area.c.
 *
 * All are called with the mmap_lock of the area's mm held for read, also where the kernel has
 * per-VMA locks: it takes the mmap_lock before it calls a fault operation of an area without
 * map_pages. A fault releases it while the daemon thinks, if the caller allows that. The mm need
 * not be the current task's.
 */
#include <linux/file.h>
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
	struct mapdev_area *area = vma->vm_private_data;
	struct page *page;
	unsigned long pfn;

	if (m->kind == MAPDEV_MAP_PFN) {
		pfn = mapdev_buffer_pfn(buffer, pgoff);
		if (!mapdev_may_insert_pfn(vma, pfn))
			return VM_FAULT_SIGBUS;
		return vmf_insert_pfn_prot(vma, addr, pfn,
					   mapdev_pgprot(buffer, m->cache ?: area->cache,
							 vma->vm_page_prot));
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
	result &= MAPDEV_FAULT_CODES;
	if (result & MAPDEV_FAULT_FAILED)
		return (__force vm_fault_t)result;
	if (call->reply.len % sizeof(struct mapdev_mapping))
		return VM_FAULT_SIGBUS;
	if (mapdev_call_own_payload(call))
		return VM_FAULT_OOM;
	/* What it maps may have been unmapped in between: it is asked again. */
	if (READ_ONCE(call->dev->unmaps) != call->unmaps)
		return VM_FAULT_NOPAGE;
	return mapdev_fault_apply(vmf, call, call->payload,
				  call->reply.len / sizeof(struct mapdev_mapping)) |
	       (__force vm_fault_t)result;
}

/* ---- waiting -------------------------------------------------------------------------------- */

/*
 * While the daemon thinks, the mmap_lock is free, as with userfaultfd: others of the process may
 * map and unmap, even this area. So nothing of the area may be used afterwards; its file stays,
 * since we hold it. The answer is kept for the task, which makes the fault again at once, unless a
 * signal comes in between.
 *
 * It is the mmap_lock that is held, not a VMA's: see above.
 */
static vm_fault_t mapdev_fault_later(struct vm_fault *vmf, struct mapdev_call *call)
{
	u32 user = FAULT_FLAG_USER | FAULT_FLAG_INTERRUPTIBLE;
	struct file *file = get_file(vmf->vma->vm_file);
	s64 outcome;

	call->locked = false;
	/* The kernel's own accesses go on after signals, so that they would be in vain. */
	call->killable = (vmf->flags & user) != user;
	mmap_read_unlock(call->mm);
	outcome = mapdev_call_run(call);
	if (outcome == -EINTR || outcome == -ERESTARTSYS)
		mapdev_call_end(call);
	else
		mapdev_call_keep(call, outcome);
	fput(file);
	return VM_FAULT_RETRY;
}

/*
 * Ask the daemon, or find its answer to the same fault. Return: VM_FAULT_RETRY: there is none yet,
 * and the mmap_lock is not held any more; else 0, and *outcome is the result. The call, if it is
 * one, is the caller's.
 */
static vm_fault_t mapdev_fault_ask(struct vm_fault *vmf, u32 op, u64 arg3,
				   struct mapdev_call **out, s64 *outcome)
{
	struct mapdev_area *area = vmf->vma->vm_private_data;
	struct mapdev_call *call;

	call = mapdev_call_recall(area->mf, op, area->id, vmf->address & PAGE_MASK);
	/* An error is not news any more when something else came in between. */
	if (call && call->outcome < 0 && !(vmf->flags & FAULT_FLAG_TRIED)) {
		mapdev_call_end(call);
		call = NULL;
	}
	*out = call;
	if (call) {
		*outcome = call->outcome;
		return 0;
	}
	call = mapdev_fault_call(vmf, op);
	*out = call;
	*outcome = PTR_ERR_OR_ZERO(call);
	if (*outcome)
		return 0;
	call->request.arg[3] = arg3;
	if (op == MAPDEV_FAULT)
		mapdev_fault_range(vmf, area, &call->request.arg[3], &call->request.arg[4]);
	if (vmf->flags & FAULT_FLAG_ALLOW_RETRY)
		return mapdev_fault_later(vmf, call);
	*outcome = mapdev_call_run(call);
	return 0;
}

vm_fault_t mapdev_vm_fault(struct vm_fault *vmf)
{
	struct mapdev_call *call;
	vm_fault_t ret;
	s64 outcome;

	/* Who can't wait here comes again by another way. */
	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;
	ret = mapdev_fault_ask(vmf, MAPDEV_FAULT, 0, &call, &outcome);
	if (ret)
		return ret;
	ret = outcome < 0 ? mapdev_fault_error(outcome) : mapdev_fault_finish(vmf, call, outcome);
	if (!IS_ERR(call))
		mapdev_call_end(call);
	return ret;
}

static vm_fault_t mapdev_mkwrite_code(struct mapdev_call *call, s64 outcome)
{
	if (!IS_ERR(call))
		mapdev_call_end(call);
	if (outcome < 0)
		return mapdev_fault_error(outcome);
	return (__force vm_fault_t)(outcome & MAPDEV_FAULT_CODES);
}

/*
 * The kernel has cleared the flags that say whether the mmap_lock may be released: it is held.
 */
vm_fault_t mapdev_vm_page_mkwrite(struct vm_fault *vmf)
{
	struct mapdev_call *call = mapdev_fault_call(vmf, MAPDEV_PAGE_MKWRITE);
	s64 outcome = PTR_ERR_OR_ZERO(call);
	vm_fault_t ret;

	if (!outcome) {
		call->request.arg[3] = page_to_pfn(vmf->page);
		outcome = mapdev_call_run(call);
	}
	ret = mapdev_mkwrite_code(call, outcome);
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
	struct mapdev_call *call;
	vm_fault_t ret;
	s64 outcome;

	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY | VM_FAULT_NOPAGE;
	ret = mapdev_fault_ask(vmf, MAPDEV_PFN_MKWRITE, pte_pfn(vmf->orig_pte), &call, &outcome);
	/* Without NOPAGE the kernel would go on to make the entry writable. */
	return ret ? ret | VM_FAULT_NOPAGE : mapdev_mkwrite_code(call, outcome);
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
