/* SPDX-License-Identifier: GPL-2.0-only */
/* What differs between kernels, from 6.1 on: here and nowhere else. */
#ifndef REFERENCE_COMPAT_H
#define REFERENCE_COMPAT_H

#include <linux/mm.h>
#include <linux/version.h>

#ifndef CONFIG_64BIT
#error "each page has to have an address in the kernel"
#endif

/* 6.3: uevent got const; 6.4: class_create lost the module; 6.16: binary attributes got const. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
#define ref_uevent_const const
#else
#define ref_uevent_const
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#define ref_class_create(name) class_create(name)
#else
#define ref_class_create(name) class_create(THIS_MODULE, name)
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
#define ref_bin_const const
#else
#define ref_bin_const
#endif

/* 6.3: vm_flags may be changed by these only. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vm_flags_set(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags |= flags;
}
#endif

#endif
