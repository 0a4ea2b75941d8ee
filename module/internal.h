/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Objects of the module and who keeps whom alive; README.md has the picture.
 *
 *   control file --> session <-- device <-- open file <-- area
 *                       |                       |          |
 *                       v                       |          +--> holds --> buffers
 *                      user        answered faults (calls)
 *
 * An arrow is a reference. An open file outlives its areas, since each VMA has a reference on its
 * struct file; so a buffer never outlives the session whose user its pages are counted for.
 *
 *   session	control file, devices		dead from the daemon's end on
 *   user	sessions			what all of its buffers come to
 *   device	table until destroyed, files	gone under session->lock
 *   object	sessions that asked for it, its devices	a class, a bus or a driver: model.c
 *   attr	its device; one that came later until it is removed
 *   file	open until MAPDEV_RELEASE is delivered
 *   area	its VMA, notices		in its file's list; the release reaps what was merged away
 *   holds	areas of one mmap call		references on buffers
 *   buffer	table until freed, holds, VMAs	pages
 *   call	the client's task, a notice	a fault's answer is the file's until it is made again
 *   command	session's list, the client	its memory is its own
 *
 * Locks, in their order:
 *
 *   mmap_lock		of a client; may be held by who makes a call, but for a fault that waits
 *   session->mutex	devices, their attributes and buffers come and go, the end
 *   mapdev_names		a name is looked for and taken, uses of objects
 *   locks of xarrays	what is found there is referenced under them
 *   session->lock	spinlock: queues, states of calls, commands, areas and answers of a file
 *   wait queues	poll's, the daemon's, the calls'
 *   the users' table	spinlock, in user.c; nothing is taken below it
 *
 * User memory is never touched with mutex or lock held, nor, if it has to be waited for, with a slot
 * of the shared payload in hand.
 */
#ifndef _MAPDEV_INTERNAL_H
#define _MAPDEV_INTERNAL_H

#include <linux/atomic.h>
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/hashtable.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/poll.h>
#include <linux/refcount.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "compat.h"
#include "mapdev.h"

#define MAPDEV_SLOT_SIZE	SZ_1M
#define MAPDEV_REQUEST_SLOTS	8
#define MAPDEV_REPLY_SLOTS	4
#define MAPDEV_COMMAND_SLOT	(MAPDEV_REQUEST_SLOTS + MAPDEV_REPLY_SLOTS)
#define MAPDEV_BUSY_OFFSET	((MAPDEV_COMMAND_SLOT + 1) * MAPDEV_SLOT_SIZE)
#define MAPDEV_PAYLOAD_SIZE	(MAPDEV_BUSY_OFFSET + PAGE_SIZE)

#define MAPDEV_REQUEST_HEAD	offsetof(struct mapdev_request, data)
#define MAPDEV_REPLY_HEAD	offsetof(struct mapdev_reply, data)

struct mapdev_attr;
struct mapdev_object_entry;

/* Something for the daemon: a call that waits for an answer, or a notice (then call is NULL). */
struct mapdev_item {
	struct list_head node;		/* in a queue, else empty */
	u64 seq;
	struct mapdev_call *call;
};

/* Part of the object that it is about, so that there is always memory for it. */
struct mapdev_notice {
	struct mapdev_item item;
	void (*done)(struct mapdev_notice *notice);	/* it was delivered, or nobody is left to */
	u32 op;
	u32 device;
	u32 pid;
	u32 tgid;
	u64 file;
	u64 area;
	u64 arg[2];
	struct mapdev_vma vma;
};

/*
 * What a client does for the daemon in the middle of its call, and what came of it. The client
 * works on memory of the command's own: what it waits for there keeps nobody else from anything.
 */
struct mapdev_command {
	refcount_t ref;			/* session->commands, the client */
	struct list_head node;		/* in session->commands, else empty */
	u64 id;				/* of the call */
	u32 kind;			/* enum mapdev_reply_kind */
	u32 size;			/* what the daemon has asked for; in bytes, or the device */
	u64 addr;
	unsigned long since;		/* in jiffies */
	bool ready;			/* the result waits for the daemon */
	s64 result;
	u64 arg[2];
	void *data;			/* kvmalloc'ed; NULL: none */
	u32 len;			/* bytes of it that are the result's */
};

/* What one user has in all of its sessions. */
struct mapdev_user {
	refcount_t ref;			/* sessions; 0 only under the table's lock */
	struct hlist_node node;
	kuid_t uid;
	atomic_long_t pages;
	atomic_t devices;		/* and classes, buses, drivers */
};

/* Memory that is in a row for the kernel only, charged to the memory cgroup page by page. */
struct mapdev_scattered {
	void *address;
	struct page **pages;
	unsigned long nr_pages;
};

struct mapdev_session {
	struct kref ref;
	struct pid *owner;		/* the process that may use the control file */
	struct pid_namespace *pid_ns;
	struct mutex mutex;		/* devices and buffers come and go, the session ends */
	bool ready;			/* MAPDEV_IOC_INIT was said */
	bool dead;			/* written under both locks */

	u64 features;
	long timeout;			/* in jiffies */
	unsigned long max_pages;
	struct mapdev_user *user;	/* whose pages its buffers are */
	struct mapdev_scattered payload;

	struct xarray devices;		/* by id */
	struct xarray buffers;		/* by id */
	struct xarray files;		/* by id */
	struct xarray objects;		/* by id: struct mapdev_object_entry, a use each */
	u32 next_object;
	u32 next_device;
	u32 next_buffer;

	spinlock_t lock;		/* all that follows */
	wait_queue_head_t daemon;
	wait_queue_head_t room;		/* clients: for a slot */
	struct list_head urgent;	/* items: what an mm waits for */
	struct list_head normal;
	u64 next_seq;
	u64 next_call;
	DECLARE_HASHTABLE(calls, 8);	/* all that are queued or taken, by id */
	struct list_head commands;	/* under way, or their results not fetched; by age */
	struct delayed_work expiry;	/* of the oldest of them: wakes the daemon */
	unsigned long free_slots;	/* bitmap of request slots */
	unsigned int payload_users;	/* slots in use, and the daemon in its own task */
	bool kicked;
};

/* What a daemon says of a device's place in the device model, copied from its memory. */
struct mapdev_place {
	bool wanted;
	struct mapdev_model model;
	struct mapdev_attribute *attrs;
	char *env;
};

struct mapdev_device {
	struct device dev;
	struct device_type type;	/* its own, for the sake of the name */
	char type_name[MAPDEV_WORD_MAX];
	bool is_shown;			/* in sysfs; under session->mutex, as what follows */
	bool is_platform;
	bool any_mode;			/* of the node: the driver core's default */
	struct platform_device *platform;	/* what is shown in place of dev; or NULL */
	struct mapdev_device *parent;	/* whose nr_children counts this one, and keeps it */
	unsigned int nr_children;
	struct mapdev_object_entry *group;	/* the class or the bus, a use; or NULL */
	struct mapdev_object_entry *bound;	/* the driver, likewise */
	struct list_head attrs;
	const struct attribute_group **groups;	/* those that came with it */
	char *node;			/* path of its node; NULL: as its name says */
	char *env;			/* variables of uevents; under session->lock */
	u32 env_len;
	struct cdev *cdev;		/* NULL: anonymous, or without a number */
	struct inode *inode;		/* its address_space is that of all of the device's areas */
	struct mapdev_session *session;
	u32 id;
	u32 has;
	bool gone;			/* under session->lock */
	u64 unmaps;			/* MAPDEV_IOC_UNMAPs so far, under session->lock */
	bool own_number;		/* major and minor were wished for */
	umode_t mode;
	kuid_t uid;
	kgid_t gid;
};

#define MAPDEV_NOT_SHOWN	U32_MAX		/* no set of MAPDEV_POLL_EVENTS */

struct mapdev_file {
	struct mapdev_device *dev;
	u64 id;
	wait_queue_head_t wait;		/* poll */
	struct fasync_struct *fasync;	/* who is signalled, if it is asynchronous */
	u32 shown;			/* what poll says; MAPDEV_NOT_SHOWN: it asks the daemon */
	struct mapdev_notice release;
	struct list_head areas;		/* under session->lock */
	struct hlist_head answers;	/* the same: faults that were answered, to be made again */
};

enum mapdev_state {
	MAPDEV_QUEUED,		/* the daemon does not know of it yet: may be taken out again */
	MAPDEV_TAKEN,		/* the daemon works on it: killable only, with a time limit */
	MAPDEV_PARKED,		/* said MAPDEV_REPLY_WAIT: interruptible, without limit */
	MAPDEV_COMMANDED,	/* the client has something to do */
	MAPDEV_FINISHED,	/* reply is valid */
};

struct mapdev_call {
	struct mapdev_item item;
	struct mapdev_notice notice;	/* INTERRUPT, or GONE */
	refcount_t ref;			/* the client, the notice while it is queued */
	struct mapdev_session *session;
	struct mapdev_device *dev;
	struct mapdev_file *mf;		/* NULL: about an attribute */
	struct mapdev_attr *attr;	/* which, for comparison; else NULL */
	const bool *attr_gone;		/* the same: its gone, while the call is made */
	struct hlist_node hash;
	wait_queue_head_t wait;
	enum mapdev_state state;	/* under session->lock */
	bool interrupted;		/* INTERRUPT was said */
	unsigned long since;		/* when it was taken, in jiffies */
	struct mm_struct *mm;		/* of the area that it is about, if it is about one */
	bool locked;			/* the client holds that mm's mmap_lock */
	bool killable;			/* while it waits, only SIGKILL is of interest */
	struct pid *task;		/* of a fault that is answered: whose, a reference */
	s64 outcome;			/* the same: what mapdev_call_run() returned */
	void *payload;			/* the same: the reply's, kvmalloc'ed; NULL: not yet */
	u64 unmaps;			/* the device's count of them when it was replied to */
	struct mapdev_command *command;	/* with COMMANDED; a reference */
	int slot;			/* request slot, until the daemon has replied; -1: none */
	struct mapdev_request request;
	struct mapdev_reply reply;
};

struct mapdev_buffer {
	struct kref ref;
	struct mapdev_session *session;
	u64 serial;			/* never used again, unlike the id */
	u32 id;
	u32 kind;
	u32 cache;
	bool compound;
	unsigned long nr_pages;
	unsigned long pfn;		/* of the first page */
	struct user_struct *locked;	/* whose locked memory it is, else NULL; a reference */
	struct mapdev_scattered vmalloc;
};

/* What one mmap call, and faults in the areas that came of it, have mapped. */
struct mapdev_holds {
	refcount_t ref;			/* areas */
	struct xarray buffers;		/* by serial */
};

struct mapdev_area {
	refcount_t ref;			/* the VMA, notices that are queued */
	u64 id;
	u32 vm_ops;			/* MAPDEV_VMOP_ */
	u32 cache;			/* of registers that come by fault */
	struct mapdev_file *mf;		/* only as long as the VMA is there */
	struct mapdev_holds *holds;	/* the same */
	struct list_head node;		/* in the file's list */
	struct mapdev_notice opened;
	struct mapdev_notice closed;	/* or aborted */
};

/* main.c */
extern struct class *mapdev_class;
extern atomic_t mapdev_nr_pages, mapdev_nr_areas, mapdev_nr_files, mapdev_nr_sessions;
extern atomic_t mapdev_nr_payload;
unsigned long mapdev_max_pages(void);
unsigned int mapdev_timeout_ms(void);
int mapdev_max_devices(void);
bool mapdev_phys_allowed(u64 start, u64 size);
u64 mapdev_new_id(void);

/* control.c */
extern const struct file_operations mapdev_control_fops;

/* session.c */
struct mapdev_session *mapdev_session_new(void);
void mapdev_session_put(struct mapdev_session *s);
void mapdev_session_end(struct mapdev_session *s);
long mapdev_next(struct mapdev_session *s, struct mapdev_next __user *arg);
bool mapdev_is_owner(struct mapdev_session *s);

/* queue.c */
void mapdev_enqueue(struct mapdev_session *s, struct mapdev_item *item, u32 op);
void mapdev_notify(struct mapdev_session *s, struct mapdev_notice *notice);
void mapdev_notify_locked(struct mapdev_session *s, struct mapdev_notice *notice);
void mapdev_fail_calls(struct mapdev_session *s, struct mapdev_device *dev,
		       struct mapdev_attr *attr, int error);
void mapdev_drop_commands(struct mapdev_session *s);
void mapdev_commands_expire(struct work_struct *work);
bool mapdev_has_result(struct mapdev_session *s, u64 only);
bool mapdev_call_alive(struct mapdev_session *s, u64 id);
long mapdev_next(struct mapdev_session *s, struct mapdev_next __user *arg);
void mapdev_kick(struct mapdev_session *s);

/* call.c */
int mapdev_call_init(void);
void mapdev_call_exit(void);
struct mapdev_call *mapdev_call_of_device(struct mapdev_device *dev, u32 op);
struct mapdev_call *mapdev_call_new(struct mapdev_file *mf, struct file *file, u32 op);
s64 mapdev_call_run(struct mapdev_call *call);
void mapdev_call_keep(struct mapdev_call *call, s64 outcome);
struct mapdev_call *mapdev_call_recall(struct mapdev_file *mf, u32 op, u64 area, u64 addr);
void mapdev_call_forget(struct mapdev_file *mf);
long mapdev_patience(const struct mapdev_session *s);
void mapdev_call_end(struct mapdev_call *call);

/* payload.c */
int mapdev_payload_alloc(struct mapdev_session *s);
void mapdev_payload_free(struct mapdev_session *s);
bool mapdev_payload_get(struct mapdev_session *s);
void mapdev_payload_put(struct mapdev_session *s);
int mapdev_payload_mmap(struct mapdev_session *s, struct vm_area_struct *vma);
int mapdev_command_slot_read(struct mapdev_session *s, void *to, size_t len);
void mapdev_command_slot_write(struct mapdev_session *s, const void *from, size_t len);
int mapdev_call_payload(struct mapdev_call *call, const void __user *from, size_t len);
int mapdev_call_kernel_payload(struct mapdev_call *call, const void *from, size_t len);
void mapdev_call_put_slot(struct mapdev_call *call);
void mapdev_call_take_reply_slot(struct mapdev_call *call, u32 slot);
void mapdev_call_put_reply_slot(struct mapdev_call *call);
void *mapdev_call_reply_payload(struct mapdev_call *call);
size_t mapdev_call_copy_out(struct mapdev_call *call, void __user *to);
int mapdev_call_own_payload(struct mapdev_call *call);

/* command.c */
struct mapdev_command *mapdev_command_new(struct mapdev_session *s,
					  const struct mapdev_reply *reply);
void mapdev_command_put(struct mapdev_command *command);
void mapdev_command(struct mapdev_call *call, struct mapdev_command *command);

/* device.c */
extern dev_t mapdev_numbers;	/* the first of ours: the control device's */
int mapdev_device_init(void);
void mapdev_device_exit(void);
int mapdev_device_create(struct mapdev_session *s, struct mapdev_create *create,
			 struct mapdev_place *place);
const struct file_operations *mapdev_device_fops(const struct mapdev_device *dev);
struct mapdev_device *mapdev_device_get(dev_t number);
struct mapdev_device *mapdev_device_find(struct mapdev_session *s, u32 id);
struct mapdev_device *mapdev_device_find_used(struct mapdev_session *s, u32 id);
int mapdev_device_destroy(struct mapdev_session *s, u32 id);
int mapdev_device_wake(struct mapdev_session *s, const struct mapdev_wake *wake);
int mapdev_device_show(struct mapdev_session *s, const struct mapdev_show *show);
int mapdev_device_signal(struct mapdev_session *s, const struct mapdev_signal *signal);

/* anon.c */
int mapdev_anon_init(void);
void mapdev_anon_exit(void);
struct inode *mapdev_anon_inode(void);
int mapdev_device_install(struct mapdev_session *s, u32 id, const char *name, int flags,
			  u64 *id_out);

/* model.c */
extern struct mutex mapdev_names;
bool mapdev_word_valid(const char *word, size_t size);
__printf(1, 2) int mapdev_path_free(const char *format, ...);
int mapdev_object_create(struct mapdev_session *s, struct mapdev_object *object);
int mapdev_object_forget(struct mapdev_session *s, u32 id);
struct mapdev_object_entry *mapdev_object_use(struct mapdev_session *s, u32 id, u32 kind);
void mapdev_object_put(struct mapdev_object_entry *entry);
struct class *mapdev_object_class(struct mapdev_object_entry *entry);
mapdev_bus_const struct bus_type *mapdev_object_bus(struct mapdev_object_entry *entry);
struct device_driver *mapdev_object_driver(struct mapdev_object_entry *entry,
					   struct mapdev_object_entry *on);

/* place.c */
int mapdev_place_copy(u64 user, struct mapdev_place *place);
void mapdev_place_free(struct mapdev_place *place);
int mapdev_place_is_free(struct mapdev_device *dev);
int mapdev_place_fill(struct mapdev_device *dev, struct mapdev_place *place, const char *node);
void mapdev_place_leave(struct mapdev_device *dev);
int mapdev_place_add(struct mapdev_device *dev);
void mapdev_place_del(struct mapdev_device *dev);
int mapdev_place_uevent(mapdev_uevent_const struct device *device, struct kobj_uevent_env *env);
int mapdev_place_tell(struct mapdev_session *s, const struct mapdev_uevent *uevent);

/* What sysfs shows of it. */
static inline struct device *mapdev_shown(struct mapdev_device *dev)
{
	return dev->platform ? &dev->platform->dev : &dev->dev;
}

/* attr.c */
int mapdev_attrs_add(struct mapdev_device *dev, const struct mapdev_attribute *as, unsigned int nr);
void mapdev_attrs_free(struct mapdev_device *dev);
int mapdev_attr_change(struct mapdev_session *s, const struct mapdev_attr_change *change);

/* file.c */
void mapdev_file_init(struct file_operations *fops, u32 has);
struct mapdev_file *mapdev_file_new(struct mapdev_device *dev);
void mapdev_file_drop(struct mapdev_file *mf);

/* area.c */
void mapdev_area_init(void);
int mapdev_area_mmap(struct file *file, struct vm_area_struct *vma);
struct mapdev_vma mapdev_vma(const struct vm_area_struct *vma);
u64 mapdev_area_id(struct mapdev_session *s, const struct vm_area_struct *vma);
bool mapdev_is_cow(vm_flags_t flags);
int mapdev_hold(struct mapdev_holds *holds, struct mapdev_buffer *buffer);
struct mapdev_call *mapdev_area_call(struct mapdev_area *area, struct vm_area_struct *vma, u32 op);
bool mapdev_mapping_valid(const struct vm_area_struct *vma, const struct mapdev_mapping *m);
void mapdev_area_reap(struct mapdev_file *mf);
struct mapdev_buffer *mapdev_mapping_buffer(struct mapdev_session *s,
					    const struct mapdev_mapping *m);
struct page *mapdev_counted_page(const struct mapdev_buffer *buffer, unsigned long pgoff);

/* fault.c */
vm_fault_t mapdev_vm_fault(struct vm_fault *vmf);
vm_fault_t mapdev_vm_page_mkwrite(struct vm_fault *vmf);
vm_fault_t mapdev_vm_pfn_mkwrite(struct vm_fault *vmf);
int mapdev_vm_access(struct vm_area_struct *vma, unsigned long addr, void *buf, int len, int write);

/* scattered.c */
int mapdev_scattered_alloc(struct mapdev_scattered *memory, unsigned long nr_pages);
void mapdev_scattered_free(struct mapdev_scattered *memory);

/* user.c */
struct mapdev_user *mapdev_user_get(kuid_t uid);
void mapdev_user_put(struct mapdev_user *user);
int mapdev_user_add_device(struct mapdev_user *user);
void mapdev_user_remove_device(struct mapdev_user *user);

/* buffer.c */
int mapdev_buffer_alloc(struct mapdev_session *s, struct mapdev_alloc *alloc);
struct mapdev_buffer *mapdev_buffer_find(struct mapdev_session *s, u32 id);
void mapdev_buffer_put(struct mapdev_buffer *buffer);
int mapdev_buffer_free(struct mapdev_session *s, u32 id);
int mapdev_buffer_pfns(struct mapdev_session *s, const struct mapdev_pfns *pfns);
int mapdev_buffer_mmap(struct mapdev_session *s, struct vm_area_struct *vma);
unsigned long mapdev_buffer_pfn(const struct mapdev_buffer *buffer, unsigned long pgoff);
pgprot_t mapdev_pgprot(const struct mapdev_buffer *buffer, u32 cache, pgprot_t prot);
u64 mapdev_features(void);

/* page.c */
int mapdev_page_info(struct mapdev_session *s, struct mapdev_page *info);

#endif
