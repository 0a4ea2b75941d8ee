// SPDX-License-Identifier: GPL-2.0-only
/* The devices that most rows are about: each maps its memory in one of the usual ways. */
#include <linux/vmalloc.h>

#include "reference.h"

/* Devices that map everything in mmap look at the range there; the others when asked. */
int ref_check_bounds(struct ref_device *dev, struct vm_area_struct *vma)
{
	if (vma->vm_pgoff > dev->nr_pages || vma_pages(vma) > dev->nr_pages - vma->vm_pgoff)
		return -EINVAL;
	return 0;
}

void ref_vm_open(struct vm_area_struct *vma)
{
	ref_count(ref_device_of(vma->vm_file), REF_VM_OPEN);
}

void ref_vm_close(struct vm_area_struct *vma)
{
	ref_count(ref_device_of(vma->vm_file), REF_VM_CLOSE);
}

const struct vm_operations_struct ref_vm_ops = {
	.open = ref_vm_open,
	.close = ref_vm_close,
};

static struct ref_device *ref_note_fault(struct vm_fault *vmf)
{
	struct ref_device *dev = ref_device_of(vmf->vma->vm_file);

	ref_count(dev, REF_FAULT);
	dev->fault_pgoff = vmf->pgoff;
	dev->fault_address = vmf->address;
	dev->fault_flags = vmf->flags;
	return dev;
}

/* remap_pfn_range, once. */
int ref_fill_pfn(struct ref_device *dev, struct vm_area_struct *vma)
{
	int ret = ref_check_bounds(dev, vma);

	if (ret)
		return ret;
	ret = remap_pfn_range(vma, vma->vm_start, page_to_pfn(dev->pages[vma->vm_pgoff]),
			      vma->vm_end - vma->vm_start, vma->vm_page_prot);
	if (!ret)
		vma->vm_ops = &ref_vm_ops;
	return ret;
}

/* remap_pfn_range, page by page. */
int ref_fill_vmalloc(struct ref_device *dev, struct vm_area_struct *vma)
{
	int ret = ref_check_bounds(dev, vma);
	unsigned long i;

	for (i = 0; !ret && i < vma_pages(vma); i++)
		ret = remap_pfn_range(vma, vma->vm_start + (i << PAGE_SHIFT),
				      page_to_pfn(dev->pages[vma->vm_pgoff + i]),
				      PAGE_SIZE, vma->vm_page_prot);
	if (!ret)
		vma->vm_ops = &ref_vm_ops;
	return ret;
}

/* vm_insert_page, page by page. */
int ref_fill_insert(struct ref_device *dev, struct vm_area_struct *vma)
{
	int ret = ref_check_bounds(dev, vma);
	unsigned long i;

	for (i = 0; !ret && i < vma_pages(vma); i++)
		ret = vm_insert_page(vma, vma->vm_start + (i << PAGE_SHIFT),
				     dev->pages[vma->vm_pgoff + i]);
	if (!ret)
		vma->vm_ops = &ref_vm_ops;
	return ret;
}

/* vm_insert_pages, once. */
int ref_fill_inserts(struct ref_device *dev, struct vm_area_struct *vma)
{
	unsigned long nr = vma_pages(vma);
	int ret = ref_check_bounds(dev, vma);

	if (ret)
		return ret;
	ret = vm_insert_pages(vma, vma->vm_start, dev->pages + vma->vm_pgoff, &nr);
	if (!ret)
		vma->vm_ops = &ref_vm_ops;
	return ret;
}

/* A fault operation that gives pages. */
vm_fault_t ref_fault(struct vm_fault *vmf)
{
	struct ref_device *dev = ref_note_fault(vmf);

	if (vmf->pgoff >= dev->nr_pages)
		return VM_FAULT_SIGBUS;
	vmf->page = dev->pages[vmf->pgoff];
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct ref_fault_ops = {
	.open = ref_vm_open,
	.close = ref_vm_close,
	.fault = ref_fault,
};

int ref_fill_fault(struct ref_device *dev, struct vm_area_struct *vma)
{
	vma->vm_ops = &ref_fault_ops;
	return 0;
}

/* A fault operation that inserts frames. */
static vm_fault_t ref_fault_pfn(struct vm_fault *vmf)
{
	struct ref_device *dev = ref_note_fault(vmf);

	if (vmf->pgoff >= dev->nr_pages)
		return VM_FAULT_SIGBUS;
	return vmf_insert_pfn(vmf->vma, vmf->address, page_to_pfn(dev->pages[vmf->pgoff]));
}

static vm_fault_t ref_pfn_mkwrite(struct vm_fault *vmf)
{
	ref_count(ref_device_of(vmf->vma->vm_file), REF_PFN_MKWRITE);
	return 0;
}

static const struct vm_operations_struct ref_fault_pfn_ops = {
	.open = ref_vm_open,
	.close = ref_vm_close,
	.fault = ref_fault_pfn,
	.pfn_mkwrite = ref_pfn_mkwrite,
};

int ref_fill_fault_pfn(struct ref_device *dev, struct vm_area_struct *vma)
{
	if (is_cow_mapping(vma->vm_flags))	/* vmf_insert_pfn has a BUG for it */
		return -EINVAL;
	vm_flags_set(vma, VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_ops = &ref_fault_pfn_ops;
	return 0;
}
