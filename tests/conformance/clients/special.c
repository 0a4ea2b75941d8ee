// SPDX-License-Identifier: MIT
/* Rows for devices that do one thing that the others don't: each says which device it is for. */
#define _GNU_SOURCE
#include <sys/uio.h>

#include "row.h"

/* nommap, a driver without an mmap operation: which errors come before ENODEV? */
static void no_mmap_operation(void)
{
	int fd = open_device(O_RDWR);

	say("shared=%s", mapped(map(NULL, page, PROT_RW, MAP_SHARED, fd, 0)));
	say(" private=%s", mapped(map(NULL, page, PROT_READ, MAP_PRIVATE, fd, 0)));
	say(" none=%s", mapped(map(NULL, page, PROT_NONE, MAP_SHARED, fd, 0)));
	say(" wronly=%s", mapped(map(NULL, page, PROT_READ, MAP_SHARED, open_device(O_WRONLY), 0)));
	say(" len0=%s", mapped(map(NULL, 0, PROT_READ, MAP_SHARED, fd, 0)));
}

/* err, whose mmap operation returns what it is told to: does that reach the program as it is? */
static void mmap_returns(void)
{
	static const long results[] = {
		-EPERM, -ENXIO, -EAGAIN, -EIO, -ENOTTY, -ENODEV, -512 /* ERESTARTSYS */, -4095,
		-4096, 1, 5, 4096,	/* no errors: they are taken for addresses */
	};
	size_t i;

	for (i = 0; i < sizeof(results) / sizeof(*results); i++) {
		long p;

		tell_driver(REF_RETURN, results[i]);
		p = (long)map(NULL, page, PROT_RW, MAP_SHARED, open_device(O_RDWR), 0);
		say(" %ld->", results[i]);
		if (p == -1)
			say("%s", error_name(errno));
		else if (p == results[i])
			say("addr=%#lx", p);
		else
			say("addr=other");
	}
}

/* err: nothing but mmap itself is called when it fails, and release at the close. */
static void mmap_err_counts(void)
{
	int fd = open_device(O_RDWR);

	tell_driver(REF_RETURN, -EIO);
	watch();
	map(NULL, page, PROT_RW, MAP_SHARED, fd, 0);
	say_ran("drv");
	close(fd);
	say_ran("close");
}

/* half, which maps the first half of what is asked for. */
static void half_mapped(void)
{
	int fd = open_device(O_RDWR), ends[2];
	char *p = map(NULL, whole, PROT_RW, MAP_SHARED, fd, 0);

	say("%s", mapped(p));
	say(" page7=%s", load(p + 7 * page));
	say(" page8=%s", load(p + 8 * page));
	say(" private=%s", mapped(map(NULL, whole, PROT_RW, MAP_PRIVATE, fd, 0)));
	if (!pipe(ends))
		say(" write(2)_page8=%s", exactly(write(ends[1], p + 8 * page, 8), 8));
}

/* mkwrite, which has page_mkwrite: asked before the first write to each page, may refuse. */
static void page_mkwrite(void)
{
	const int sigbus = 2;	/* VM_FAULT_SIGBUS */
	int fd = open_device(O_RDWR);
	char *p = map(NULL, whole, PROT_RW, MAP_SHARED, fd, 0), *q;

	watch();
	load(p);
	say_ran("read");
	store(p, 1);
	say_ran("write");
	store(p, 2);
	say_ran("write_again");
	store(p + page, 1);
	say_ran("write_first");
	tell_driver(REF_RETURN, sigbus);
	say(" mkwrite->SIGBUS:%s", store(p + 2 * page, 1));
	say_ran("drv");
	say(" read_ok=%s", load(p + 2 * page));
	q = map(NULL, whole, PROT_RW, MAP_PRIVATE, fd, 0);
	watch();
	store(q, 1);
	say_ran("private_write");
	tell_driver(REF_RETURN, 0);
	mprotect(p, whole, PROT_READ);
	mprotect(p, whole, PROT_RW);
	watch();
	store(p, 1);
	say_ran("after mprotect R,RW write");
}

static void hooks_that_refuse(char *p)
{
	tell_driver(REF_RETURN, -EBUSY);
	watch();
	say(" may_split=-EBUSY: munmap_mid=%s", status(munmap(p + 4 * page, page)));
	say_ran("drv");
	say(" mprotect_mid=%s", status(mprotect(p + 4 * page, page, PROT_READ)));
	say_ran("drv");
	tell_driver(REF_RETURN, -EPERM);
	say(" mprotect_all(op=-EPERM)=%s", status(mprotect(p, whole, PROT_READ)));
	say_ran("drv");
	say(" mremap(op=-EPERM)=%s",
	    mapped(mremap(p, whole, whole, MREMAP_MAYMOVE | MREMAP_FIXED, reserve(NPAGES))));
	say_ran("drv");
	say(" orig=%s", load(p));
}

/* hooks, which has may_split, mprotect, mremap and access: asked, heard, and used by debuggers. */
static void vm_operations(void)
{
	int memory = open("/proc/self/mem", O_RDWR), fd = open_device(O_RDWR);
	char *p = map(NULL, whole, PROT_RW, MAP_SHARED, fd, 0), *q, data[8];
	struct iovec ours = { data, 6 }, theirs;

	say("%s", mapped(p));
	hooks_that_refuse(p);
	tell_driver(REF_RETURN, 0);
	watch();
	q = mremap(p, whole, whole, MREMAP_MAYMOVE | MREMAP_FIXED, reserve(NPAGES));
	say(" mremap(op=0)=%s", mapped(q));
	say_ran("drv");
	if (q != MAP_FAILED)
		p = q;
	say(" /proc/self/mem with .access: read=%s", exactly(pread(memory, data, 6, (off_t)p), 6));
	say_ran("drv");
	theirs = (struct iovec){ p, 6 };
	say(" process_vm_readv=%s",
	    exactly(process_vm_readv(getpid(), &ours, 1, &theirs, 1, 0), 6));
	say_ran("drv");
}

/* dontcopy, whose areas have VM_DONTCOPY: a child does not have them. */
static void not_copied_by_fork(void)
{
	int fd = open_device(O_RDWR);
	char *p = map(NULL, whole, PROT_RW, MAP_SHARED, fd, 0);

	*p = 1;
	say_smaps(p, (const char *const[]){ "VmFlags", NULL });
	watch();
	if (!fork()) {
		say(" child=%s", load(p));
		_exit(0);
	}
	wait(NULL);
	say_ran("drv");
}

/* mappages (vm_map_pages) and iomap (vm_iomap_memory), which check the range: what is in bounds? */
static void helper_bounds(void)
{
	int fd = open_device(O_RDWR);
	char *p = map(NULL, whole, PROT_RW, MAP_SHARED, fd, 0), *q;

	say("full=%s", mapped(p));
	if (p != MAP_FAILED) {
		say(" %s", page_name(p + whole - page));
		say_smaps(p, (const char *const[]){ "VmFlags", NULL });
	}
	say(" len+1=%s", mapped(map(NULL, whole + page, PROT_RW, MAP_SHARED, fd, 0)));
	say(" off=end=%s", mapped(map(NULL, page, PROT_RW, MAP_SHARED, fd, whole)));
	say(" off=end+1=%s", mapped(map(NULL, page, PROT_RW, MAP_SHARED, fd, whole + page)));
	say(" off15len2=%s", mapped(map(NULL, 2 * page, PROT_RW, MAP_SHARED, fd, whole - page)));
	q = map(NULL, 2 * page, PROT_RW, MAP_SHARED, fd, 3 * page);
	say(" off3=%s", mapped(q));
	if (q != MAP_FAILED)
		say(" %s", page_name(q));
	say(" private_rw=%s", mapped(map(NULL, whole, PROT_RW, MAP_PRIVATE, fd, 0)));
	say(" private_rw4=%s", mapped(map(NULL, 4 * page, PROT_RW, MAP_PRIVATE, fd, 0)));
	if (p == MAP_FAILED)
		return;
	q = mremap(p, whole, whole + page, MREMAP_MAYMOVE);
	say(" grow=%s", mapped(q));
	if (q != MAP_FAILED)
		say(" beyond=%s", load(q + whole));
}

/* api, whose mmap operation uses a mapping function in a way of its own: what does that return? */
static void api_uses(void)
{
	static const struct {
		int use;
		const char *name;
	} uses[] = {
		{ REF_INSERT_TWICE, "vm_insert_page same addr twice" },
		{ REF_INSERT_AT_END, "vm_insert_page at vm_end" },
		{ REF_INSERT_SLAB, "vm_insert_page slab page" },
		{ REF_REMAP_UNALIGNED, "remap_pfn_range addr unaligned" },
		{ REF_REMAP_100_BYTES, "remap_pfn_range size 100" },
		{ REF_INSERT_TOO_MANY, "vm_insert_pages num>vma" },
		{ REF_INSERT_TAIL, "vm_insert_page refcount-0 page" },
		{ REF_REMAP_PLAIN_VMALLOC, "remap_vmalloc_range of vmalloc() not vmalloc_user()" },
		{ REF_REMAP_NONCACHED, "remap_pfn_range pgprot_noncached on RAM" },
		{ REF_INSERT_ALL, "vm_insert_pages remaining on success" },
		{ REF_REMAP_SLAB, "remap_pfn_range of kmalloc page" },
	};
	size_t i;

	for (i = 0; i < sizeof(uses) / sizeof(*uses); i++) {
		int fd = open_device(O_RDWR);

		tell_driver(REF_RETURN, uses[i].use);
		say("%s%s=%s", i ? "; " : "", uses[i].name,
		    mapped(map(NULL, 4 * page, PROT_RW, MAP_SHARED, fd, 0)));
		close(fd);
	}
}

const struct row special_rows[] = {
	ROW(no_mmap_operation),
	ROW(mmap_returns),
	ROW(mmap_err_counts),
	ROW(half_mapped),
	ROW(page_mkwrite),
	ROW(vm_operations),
	ROW(not_copied_by_fork),
	ROW(helper_bounds),
	ROW(api_uses),
	{ },
};
