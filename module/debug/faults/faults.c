// SPDX-License-Identifier: GPL-2.0
/*
 * Mistakes on purpose: a word written to /sys/kernel/debug/faults makes one. For the debug kernel
 * only, to see that it finds them: each may bring the machine down.
 */
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

static struct dentry *file;
static DEFINE_MUTEX(lock_a);
static DEFINE_MUTEX(lock_b);
static DEFINE_SPINLOCK(spin);

static void fault_none(void)
{
}

static void fault_use_after_free(void)
{
	char *p = kmalloc(64, GFP_KERNEL);

	kfree(p);
	WRITE_ONCE(*p, 1);
}

static void fault_out_of_bounds(void)
{
	char *p = kmalloc(60, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(p);
	WRITE_ONCE(p[60], 1);
	kfree(p);
}

static void fault_vmalloc_out_of_bounds(void)
{
	char *p = vmalloc(100);

	OPTIMIZER_HIDE_VAR(p);
	WRITE_ONCE(p[100], 1);
	vfree(p);
}

static void fault_freed_page(void)
{
	char *p = (char *)__get_free_page(GFP_KERNEL);

	free_page((unsigned long)p);
	WRITE_ONCE(*p, 1);
}

static void fault_double_free(void)
{
	char *p = kmalloc(64, GFP_KERNEL);

	kfree(p);
	OPTIMIZER_HIDE_VAR(p);
	kfree(p);
}

static void fault_lock_order(void)
{
	mutex_lock(&lock_a);
	mutex_lock(&lock_b);
	mutex_unlock(&lock_b);
	mutex_unlock(&lock_a);
	mutex_lock(&lock_b);
	mutex_lock(&lock_a);
	mutex_unlock(&lock_a);
	mutex_unlock(&lock_b);
}

static void fault_lock_kept(void)
{
	mutex_lock(&lock_a);
}

static void fault_sleep_in_atomic(void)
{
	spin_lock(&spin);
	might_sleep();
	spin_unlock(&spin);
}

static void fault_list(void)
{
	LIST_HEAD(head);
	struct list_head item;

	list_add(&item, &head);
	list_add(&item, &head);
}

static void timer_function(struct timer_list *timer)
{
}

static void fault_active_timer(void)
{
	struct timer_list *timer = kmalloc(sizeof(*timer), GFP_KERNEL);

	timer_setup(timer, timer_function, 0);
	mod_timer(timer, jiffies + 10 * HZ);
	kfree(timer);
}

static void fault_warning(void)
{
	WARN_ON(1);
}

static void fault_oops(void)
{
	WRITE_ONCE(*(int *)8, 1);
}

static void fault_hung_task(void)
{
	schedule_timeout_uninterruptible(8 * HZ);
}

static void fault_pinned(void)
{
	__module_get(THIS_MODULE);
}

static void fault_leak(void)
{
	char *p = kmalloc(100, GFP_KERNEL);

	memset(p, 1, 100);
}

static void fault_page_leak(void)
{
	alloc_page(GFP_KERNEL);
}

static const struct {
	const char *name;
	void (*make)(void);
} faults[] = {
	{ "none", fault_none },
	{ "use-after-free", fault_use_after_free },
	{ "out-of-bounds", fault_out_of_bounds },
	{ "vmalloc-out-of-bounds", fault_vmalloc_out_of_bounds },
	{ "freed-page", fault_freed_page },
	{ "double-free", fault_double_free },
	{ "lock-order", fault_lock_order },
	{ "lock-kept", fault_lock_kept },
	{ "sleep-in-atomic", fault_sleep_in_atomic },
	{ "list", fault_list },
	{ "active-timer", fault_active_timer },
	{ "warning", fault_warning },
	{ "oops", fault_oops },
	{ "hung-task", fault_hung_task },
	{ "pinned", fault_pinned },
	{ "leak", fault_leak },
	{ "page-leak", fault_page_leak },
};

static ssize_t faults_write(struct file *filp, const char __user *buf, size_t count, loff_t *pos)
{
	char name[32] = "";
	size_t i;

	if (count >= sizeof(name) || copy_from_user(name, buf, count))
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(faults); i++) {
		if (sysfs_streq(name, faults[i].name)) {
			faults[i].make();
			return count;
		}
	}
	return -ENOENT;
}

static const struct file_operations faults_fops = {
	.owner = THIS_MODULE,
	.write = faults_write,
};

static int __init faults_init(void)
{
	file = debugfs_create_file("faults", 0200, NULL, NULL, &faults_fops);
	return PTR_ERR_OR_ZERO(file);
}

static void __exit faults_exit(void)
{
	debugfs_remove(file);
}

module_init(faults_init);
module_exit(faults_exit);
MODULE_DESCRIPTION("Mistakes on purpose, for the debug kernel");
MODULE_LICENSE("GPL");
