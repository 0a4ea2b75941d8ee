/* SPDX-License-Identifier: GPL-2.0-only */
/* What differs between kernels, from 6.1 on: here and nowhere else. */
#ifndef _MAPDEV_COMPAT_H
#define _MAPDEV_COMPAT_H

#include <linux/device.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/version.h>

#ifndef CONFIG_64BIT
#error "mapdev needs a 64-bit kernel: offsets of the control device do not fit otherwise"
#endif

/* 6.2: devnode got const; 6.4: class_create lost the module. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#define mapdev_devnode_const const
#else
#define mapdev_devnode_const
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#define mapdev_class_create(name) class_create(name)
#else
#define mapdev_class_create(name) class_create(THIS_MODULE, name)
#endif

/* 6.3: uevent got const, 6.4 the bus of a device, 6.11 the driver to match. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
#define mapdev_uevent_const const
#else
#define mapdev_uevent_const
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#define mapdev_bus_const const
#else
#define mapdev_bus_const
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
#define mapdev_match_const const
#else
#define mapdev_match_const
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
#define mapdev_bin_const const
#else
#define mapdev_bin_const
#endif
#define mapdev_attr_const

/* 6.3: vm_flags may be changed by these only. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vm_flags_set(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags |= flags;
}

static inline void vm_flags_clear(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags &= ~flags;
}
#endif

/* The largest order: MAX_ORDER - 1 at first, MAX_ORDER from 6.4, MAX_PAGE_ORDER from 6.8 on. */
#if defined(MAX_PAGE_ORDER)
#define MAPDEV_MAX_ORDER MAX_PAGE_ORDER
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#define MAPDEV_MAX_ORDER MAX_ORDER
#else
#define MAPDEV_MAX_ORDER (MAX_ORDER - 1)
#endif

/* 6.16: flags in place of the type of the memory. Without CONFIG_CONTIG_ALLOC there is none. */
#ifdef CONFIG_CONTIG_ALLOC
static inline int mapdev_alloc_contig_range(unsigned long start, unsigned long end, gfp_t gfp)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
	return alloc_contig_range(start, end, ACR_FLAGS_NONE, gfp);
#else
	return alloc_contig_range(start, end, MIGRATE_MOVABLE, gfp);
#endif
}
#endif

/* 7.1: another name for taking frames out of an area. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 1, 0)
#define zap_vma_ptes zap_special_vma_range
#endif

/* 6.18: page->flags is a type of its own. */
static inline unsigned long mapdev_page_flags(const struct page *page)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	return page->flags.f;
#else
	return page->flags;
#endif
}

#endif
