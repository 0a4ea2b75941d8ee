// SPDX-License-Identifier: GPL-2.0-only
/*
 * For tests: /proc/mapdev_ptes, whose bytes at a user address are the page-table entry of that
 * address in the reading task's mm; 0 where there is none. Nothing else tells how a page is cached.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pgtable.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/uaccess.h>

static u64 ptes_find(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;

	if (pgd_none(*pgd) || pgd_bad(*pgd))
		return 0;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d) || p4d_bad(*p4d))
		return 0;
	pud = pud_offset(p4d, addr);
	if (pud_none(*pud) || pud_bad(*pud))
		return 0;
	pmd = pmd_offset(pud, addr);
	if (pmd_none(*pmd) || pmd_bad(*pmd))
		return 0;
	return pte_val(READ_ONCE(*pte_offset_kernel(pmd, addr)));
}

static ssize_t ptes_read(struct file *file, char __user *buf, size_t count, loff_t *pos)
{
	u64 pte = 0;

	if (count < sizeof(pte) || *pos < 0 || *pos >= TASK_SIZE)
		return -EINVAL;
	mmap_read_lock(current->mm);
	if (find_vma(current->mm, *pos))
		pte = ptes_find(current->mm, *pos);
	mmap_read_unlock(current->mm);
	return copy_to_user(buf, &pte, sizeof(pte)) ? -EFAULT : sizeof(pte);
}

static const struct proc_ops ptes_ops = {
	.proc_read = ptes_read,
	.proc_lseek = default_llseek,
};

static int __init ptes_init(void)
{
	return proc_create("mapdev_ptes", 0400, NULL, &ptes_ops) ? 0 : -ENOMEM;
}

static void __exit ptes_exit(void)
{
	remove_proc_entry("mapdev_ptes", NULL);
}

module_init(ptes_init);
module_exit(ptes_exit);
MODULE_DESCRIPTION("page-table entries, for the tests of mapdev");
MODULE_LICENSE("GPL");
