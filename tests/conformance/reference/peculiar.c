// SPDX-License-Identifier: GPL-2.0-only
/* The devices that do one thing that no other does. */
#include <linux/io.h>
#include <linux/pagemap.h>
#include <linux/vmalloc.h>

#include "reference.h"

/* An mmap operation that fails as told, or succeeds in an odd way. */
int ref_fill_err(struct ref_device *dev, struct vm_area_struct *vma)
{
	return dev->result;
}

/* remap_pfn_range of the first half of what is asked for. */
int ref_fill_half(struct ref_device *dev, struct vm_area_struct *vma)
{
	int ret = ref_check_bounds(dev, vma);

	if (ret)
		return ret;
	ret = remap_pfn_range(vma, vma->vm_start, page_to_pfn(dev->pages[vma->vm_pgoff]),
			      vma_pages(vma) / 2 << PAGE_SHIFT, vma->vm_page_prot);
	if (!ret)
		vma->vm_ops = &ref_vm_ops;
	return ret;
}

/* page_mkwrite, which allows or does as told. */
static vm_fault_t ref_page_mkwrite(struct vm_fault *vmf)
{
	struct ref_device *dev = ref_device_of(vmf->vma->vm_file);

	ref_count(dev, REF_MKWRITE);
	if (dev->result)
		return (__force vm_fault_t)dev->result;
	lock_page(vmf->page);
	return VM_FAULT_LOCKED;
}

static const struct vm_operations_struct ref_mkwrite_ops = {
	.open = ref_vm_open,
	.close = ref_vm_close,
	.fault = ref_fault,
	.page_mkwrite = ref_page_mkwrite,
};

int ref_fill_mkwrite(struct ref_device *dev, struct vm_area_struct *vma)
{
	vma->vm_ops = &ref_mkwrite_ops;
	return 0;
}

/* All the other operations of an area, which fail as told. */
static int ref_do_as_told(struct vm_area_struct *vma, enum ref_operation operation)
{
	struct ref_device *dev = ref_device_of(vma->vm_file);

	ref_count(dev, operation);
	return dev->result;
}

static int ref_may_split(struct vm_area_struct *vma, unsigned long addr)
{
	return ref_do_as_told(vma, REF_MAY_SPLIT);
}

static int ref_mremap(struct vm_area_struct *vma)
{
	return ref_do_as_told(vma, REF_MREMAP);
}

static int ref_mprotect(struct vm_area_struct *vma, unsigned long start, unsigned long end,
			unsigned long newflags)
{
	return ref_do_as_told(vma, REF_MPROTECT);
}

static int ref_access(struct vm_area_struct *vma, unsigned long addr, void *buf, int len, int write)
{
	struct ref_device *dev = ref_device_of(vma->vm_file);
	u64 offset = addr - vma->vm_start + (vma->vm_pgoff << PAGE_SHIFT);

	ref_count(dev, REF_ACCESS);
	if (offset >> PAGE_SHIFT >= dev->nr_pages)
		return -EINVAL;
	len = min_t(int, len, PAGE_SIZE - offset_in_page(offset));
	if (write)
		memcpy(ref_locate(dev, offset), buf, len);
	else
		memcpy(buf, ref_locate(dev, offset), len);
	return len;
}

static const struct vm_operations_struct ref_hooks_ops = {
	.open = ref_vm_open,
	.close = ref_vm_close,
	.may_split = ref_may_split,
	.mremap = ref_mremap,
	.mprotect = ref_mprotect,
	.access = ref_access,
};

int ref_fill_hooks(struct ref_device *dev, struct vm_area_struct *vma)
{
	int ret = ref_fill_pfn(dev, vma);

	if (!ret)
		vma->vm_ops = &ref_hooks_ops;
	return ret;
}

/* Areas that a child does not get. */
int ref_fill_dontcopy(struct ref_device *dev, struct vm_area_struct *vma)
{
	int ret = ref_check_bounds(dev, vma);

	if (ret)
		return ret;
	vm_flags_set(vma, VM_DONTCOPY);
	return ref_fill_fault(dev, vma);
}

/* A fault operation, but no close: such areas can be merged. */
static const struct vm_operations_struct ref_noclose_ops = {
	.fault = ref_fault,
};

int ref_fill_noclose(struct ref_device *dev, struct vm_area_struct *vma)
{
	vma->vm_ops = &ref_noclose_ops;
	return 0;
}

int ref_fill_mappages(struct ref_device *dev, struct vm_area_struct *vma)
{
	int ret = vm_map_pages(vma, dev->pages, dev->nr_pages);

	if (!ret)
		vma->vm_ops = &ref_vm_ops;
	return ret;
}

int ref_fill_iomap(struct ref_device *dev, struct vm_area_struct *vma)
{
	int ret = vm_iomap_memory(vma, page_to_phys(dev->pages[0]), dev->nr_pages << PAGE_SHIFT);

	if (!ret)
		vma->vm_ops = &ref_vm_ops;
	return ret;
}

/* remap_vmalloc_range, which checks the range. */
int ref_fill_vmalloc_range(struct ref_device *dev, struct vm_area_struct *vma)
{
	int ret = remap_vmalloc_range(vma, dev->vmalloced, vma->vm_pgoff);

	if (!ret)
		vma->vm_ops = &ref_vm_ops;
	return ret;
}

static int ref_insert_tail(struct vm_area_struct *vma)
{
	struct page *block = alloc_pages(GFP_KERNEL, 1);
	int ret;

	if (!block)
		return -ENOMEM;
	ret = vm_insert_page(vma, vma->vm_start, block + 1);
	__free_pages(block, 1);
	return ret;
}

static int ref_remap_plain_vmalloc(struct vm_area_struct *vma)
{
	void *address = vmalloc(PAGE_SIZE);
	int ret;

	if (!address)
		return -ENOMEM;
	ret = remap_vmalloc_range(vma, address, 0);
	vfree(address);
	return ret;
}

/* The mapping functions, used as a driver should not, or as one may wonder whether it can. */
int ref_fill_api(struct ref_device *dev, struct vm_area_struct *vma)
{
	unsigned long start = vma->vm_start, pfn = page_to_pfn(dev->pages[0]), nr = vma_pages(vma);
	pgprot_t prot = vma->vm_page_prot;
	int ret;

	switch (dev->result) {
	case REF_INSERT_TWICE:
		ret = vm_insert_page(vma, start, dev->pages[0]);
		return ret ? ret : vm_insert_page(vma, start, dev->pages[1]);
	case REF_INSERT_AT_END:
		return vm_insert_page(vma, vma->vm_end, dev->pages[0]);
	case REF_INSERT_SLAB:
		return vm_insert_page(vma, start, virt_to_page(dev->slab));
	case REF_REMAP_UNALIGNED:
		return remap_pfn_range(vma, start + 100, pfn, PAGE_SIZE, prot);
	case REF_REMAP_100_BYTES:
		return remap_pfn_range(vma, start, pfn, 100, prot);
	case REF_INSERT_TOO_MANY:
		if (++nr > dev->nr_pages)
			return -EINVAL;
		return vm_insert_pages(vma, start, dev->pages, &nr);
	case REF_INSERT_TAIL:
		return ref_insert_tail(vma);
	case REF_REMAP_PLAIN_VMALLOC:
		return ref_remap_plain_vmalloc(vma);
	case REF_REMAP_NONCACHED:
		vma->vm_page_prot = pgprot_noncached(prot);
		return remap_pfn_range(vma, start, pfn, PAGE_SIZE, vma->vm_page_prot);
	case REF_INSERT_ALL:
		if (nr > dev->nr_pages)
			return -EINVAL;
		return vm_insert_pages(vma, start, dev->pages, &nr);
	case REF_REMAP_SLAB:
		pfn = virt_to_phys(dev->slab) >> PAGE_SHIFT;
		return remap_pfn_range(vma, start, pfn, PAGE_SIZE, prot);
	}
	return 0;
}
