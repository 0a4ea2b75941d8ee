// SPDX-License-Identifier: MIT
/* System calls that take an address of the mapping: locks, memory policy, paging, other processes. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "row.h"

static int *word_in(const struct mapping *m, size_t number)
{
	return (int *)(m->start + number * page + 64);
}

/* A futex that other processes may use too: its key would be the page. */
static void futex_shared(void)
{
	struct mapping m = map_shared(NPAGES);
	int *word = word_in(&m, 0);
	struct timespec soon = { 0, 1000000 };

	*word = 0;
	watch();
	say("wake=%s", amount(syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0)));
	say(" wait_other=%s", amount(syscall(SYS_futex, word, FUTEX_WAIT, 1, NULL, NULL, 0)));
	say(" wait=%s", amount(syscall(SYS_futex, word, FUTEX_WAIT, 0, &soon, NULL, 0)));
	say(" bitset=%s",
	    amount(syscall(SYS_futex, word, FUTEX_WAKE_BITSET, 1, NULL, NULL, -1)));
	say(" unaligned=%s",
	    amount(syscall(SYS_futex, (char *)word + 1, FUTEX_WAKE, 1, NULL, NULL, 0)));
	say_ran("drv");
}

/* A futex of threads: its key is the address, so that the page does not matter to a wake. */
static void futex_private(void)
{
	struct mapping m = map_shared(NPAGES);
	int *word = word_in(&m, 0);
	struct timespec soon = { 0, 1000000 };

	*word = 0;
	watch();
	say("wake=%s", amount(syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0)));
	say(" wait_other=%s",
	    amount(syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0)));
	say(" wait=%s", amount(syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, &soon, NULL, 0)));
	say_ran("drv");
}

/* Calls on two futexes, one of which is plain memory; and the locks that the kernel takes itself. */
static void futex_two(void)
{
	struct mapping m = map_shared(NPAGES);
	int *plain = map(NULL, page, PROT_RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int *word = word_in(&m, 0);

	*word = 0;
	say("requeue_to=%s", amount(syscall(SYS_futex, plain, FUTEX_REQUEUE, 1, 1, word, 0)));
	say(" requeue_from=%s", amount(syscall(SYS_futex, word, FUTEX_REQUEUE, 1, 1, plain, 0)));
	say(" cmp_requeue=%s", amount(syscall(SYS_futex, plain, FUTEX_CMP_REQUEUE, 1, 1, word, 0)));
	say(" wake_op=%s", amount(syscall(SYS_futex, plain, FUTEX_WAKE_OP, 1, 1, word,
					   FUTEX_OP(FUTEX_OP_SET, 5, FUTEX_OP_CMP_EQ, 0))));
	say(" value=%d", *word);
	*word = 0;
	say(" trylock_pi=%s", amount(syscall(SYS_futex, word, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0)));
	say(" held=%d", *word == getpid());
	say(" unlock_pi=%s", amount(syscall(SYS_futex, word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0)));
	*word = 0;
	say(" private_pi=%s",
	    amount(syscall(SYS_futex, word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0)));
}

/* A list of futexes (Linux 5.16). */
static void futex_list(void)
{
	struct mapping m = map_shared(NPAGES);
	int *plain = map(NULL, page, PROT_RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int *word = word_in(&m, 0);
	struct timespec now;
	struct futex_waitv list[2] = {
		{ .uaddr = (uintptr_t)plain, .flags = FUTEX_32 },
		{ .uaddr = (uintptr_t)word, .flags = FUTEX_32 },
	};

	*word = 0;
	clock_gettime(CLOCK_MONOTONIC, &now);
	watch();
	say("shared=%s", amount(syscall(SYS_futex_waitv, list, 2, 0, &now, CLOCK_MONOTONIC)));
	list[1].flags |= FUTEX_PRIVATE_FLAG;
	say(" private=%s", amount(syscall(SYS_futex_waitv, list, 2, 0, &now, CLOCK_MONOTONIC)));
	list[1].val = 1;
	say(" other=%s", amount(syscall(SYS_futex_waitv, list, 2, 0, &now, CLOCK_MONOTONIC)));
	say_ran("drv");
}

/* A futex in a page that was not touched before, and in one that may only be read. */
static void futex_untouched(void)
{
	struct mapping m = map_shared(NPAGES);
	int fd = open_device(O_RDONLY);
	char *readable = map(NULL, whole, PROT_READ, MAP_SHARED, fd, 0);

	watch();
	say("shared=%s", amount(syscall(SYS_futex, word_in(&m, 3), FUTEX_WAIT, 1, NULL, NULL, 0)));
	say_ran("drv");
	say(" private=%s",
	    amount(syscall(SYS_futex, word_in(&m, 4), FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0)));
	say_ran("drv");
	say(" readable=%s", amount(syscall(SYS_futex, readable, FUTEX_WAKE, 1, NULL, NULL, 0)));
	say(" private_copy=");
	readable = map(NULL, page, PROT_RW, MAP_PRIVATE, fd, 0);
	if (readable == MAP_FAILED)
		say("%s", error_name(errno));
	else
		say("%s", amount(syscall(SYS_futex, readable, FUTEX_WAKE, 1, NULL, NULL, 0)));
}

static int userfaultfd_of(unsigned long features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		cannot("use a userfaultfd");
	return fd;
}

static const char *registers(int fd, char *start, size_t length, int mode)
{
	struct uffdio_register range = { { (uintptr_t)start, length }, mode, 0 };

	return status(ioctl(fd, UFFDIO_REGISTER, &range));
}

/* Faults of the mapping told to a program. */
static void uffd_register(void)
{
	struct mapping m = map_shared(NPAGES);
	int fd = userfaultfd_of(0);

	say("missing=%s", registers(fd, m.start, whole, UFFDIO_REGISTER_MODE_MISSING));
	say(" wp=%s", registers(fd, m.start, whole, UFFDIO_REGISTER_MODE_WP));
	say(" minor=%s", registers(fd, m.start, whole, UFFDIO_REGISTER_MODE_MINOR));
	say(" middle=%s",
	    registers(fd, m.start + 4 * page, page, UFFDIO_REGISTER_MODE_MISSING));
	say(" unaligned=%s", registers(fd, m.start + 1, page, UFFDIO_REGISTER_MODE_MISSING));
	say(" none=%s", registers(fd, m.start, whole, 0));
	close(fd);
	say(" store=%s", store(m.start, 1));
}

/* Pages put there, or taken, by way of a userfaultfd that knows nothing of the mapping. */
static void uffd_others(void)
{
	struct mapping m = map_shared(NPAGES);
	int fd = userfaultfd_of(0);
	struct uffdio_range range = { (uintptr_t)m.start, page };
	struct uffdio_copy copy = {
		.dst = (uintptr_t)m.start, .src = (uintptr_t)map(NULL, page, PROT_RW,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), .len = page,
	};
	struct uffdio_zeropage zero = { range, 0, 0 };
	struct uffdio_writeprotect protect = { range, UFFDIO_WRITEPROTECT_MODE_WP };

	say("copy=%s", status(ioctl(fd, UFFDIO_COPY, &copy)));
	say(" zero=%s", status(ioctl(fd, UFFDIO_ZEROPAGE, &zero)));
	say(" protect=%s", status(ioctl(fd, UFFDIO_WRITEPROTECT, &protect)));
	say(" unregister=%s", status(ioctl(fd, UFFDIO_UNREGISTER, &range)));
	say(" wake=%s", status(ioctl(fd, UFFDIO_WAKE, &range)));
	say(" page=%s", page_name(m.start));
}

static void say_nodes(const char *tag, char *first, char *second, const int *to, int flags)
{
	void *pages[] = { first, second };
	int nodes[] = { 99, 99 };
	long result = syscall(SYS_move_pages, 0, 2, pages, to, nodes, flags);
	int i;

	say(" %s=%s", tag, amount(result));
	for (i = 0; i < 2; i++)
		say("%c%s", i ? ',' : ':', nodes[i] < 0 ? error_name(-nodes[i]) :
		    nodes[i] == 99 ? "-" : "node");
}

/* On which node are its pages, and may they be moved? */
static void move_pages_of(void)
{
	struct mapping m = map_shared(NPAGES);
	int zero[] = { 0, 0 };

	m.start[0] = 1;
	watch();
	say_nodes("where", m.start, m.start + page, NULL, 0);
	say_nodes("move", m.start, m.start + page, zero, MPOL_MF_MOVE);
	say_nodes("move_all", m.start, m.start + page, zero, MPOL_MF_MOVE_ALL);
	say_nodes("beside", m.start + whole, (char *)free_range(1), NULL, 0);
	say_nodes("unaligned", m.start + 5, m.start + page + 5, NULL, 0);
	say_ran("drv");
}

/* Which policy has an address, and on which node is it? */
static void mempolicy_get(void)
{
	struct mapping m = map_shared(NPAGES);
	unsigned long nodes[16] = { 0 };
	int mode = 99;

	m.start[0] = 1;
	watch();
	say("policy=%s", status(syscall(SYS_get_mempolicy, &mode, nodes, 1024, m.start, MPOL_F_ADDR)));
	say(":%d", mode);
	mode = 99;
	say(" node=%s", status(syscall(SYS_get_mempolicy, &mode, NULL, 0, m.start,
				       MPOL_F_NODE | MPOL_F_ADDR)));
	say(":%d", mode);
	mode = 99;
	say(" untouched=%s", status(syscall(SYS_get_mempolicy, &mode, NULL, 0, m.start + 5 * page,
					    MPOL_F_NODE | MPOL_F_ADDR)));
	say(":%d", mode);
	say(" beyond=%s", status(syscall(SYS_get_mempolicy, &mode, NULL, 0, m.start + whole,
					 MPOL_F_ADDR)));
	say_ran("drv");
}

/* A policy for all of it, for its middle, and with the demand that pages follow. */
static void mempolicy_bind(void)
{
	struct mapping m = map_shared(NPAGES);
	unsigned long nodes[16] = { 1 };
	int mode = 99;

	m.start[0] = 1;
	watch();
	say("bind=%s", status(syscall(SYS_mbind, m.start, whole, MPOL_BIND, nodes, 1024, 0)));
	say_ran("drv");
	say(" policy=%s", status(syscall(SYS_get_mempolicy, &mode, NULL, 0, m.start, MPOL_F_ADDR)));
	say(":%d", mode);
	say(" middle=%s", status(syscall(SYS_mbind, m.start + 4 * page, page, MPOL_PREFERRED, nodes,
					 1024, 0)));
	say(" nvma=%d", areas_in(m.start, whole));
	say_ran("drv");
	say(" strict=%s", status(syscall(SYS_mbind, m.start, whole, MPOL_BIND, nodes, 1024,
					 MPOL_MF_STRICT)));
	say(" move=%s", status(syscall(SYS_mbind, m.start, whole, MPOL_BIND, nodes, 1024,
				       MPOL_MF_MOVE | MPOL_MF_STRICT)));
	say(" default=%s", status(syscall(SYS_mbind, m.start, whole, MPOL_DEFAULT, NULL, 0, 0)));
	say(" unaligned=%s", status(syscall(SYS_mbind, m.start + 1, page, MPOL_DEFAULT, NULL, 0, 0)));
	say(" gap=%s", status(syscall(SYS_mbind, m.start, whole + page, MPOL_DEFAULT, NULL, 0, 0)));
	say(" home=%s", status(syscall(SYS_set_mempolicy_home_node, m.start, whole, 0, 0)));
}

static void ask_of(pid_t pid, char *there)
{
	char data[8] = "QQQQQQQ";
	struct iovec ours = { data, 6 }, theirs = { there, 6 };
	struct iovec two[2] = { { data, 3 }, { data + 3, 3 } };
	struct iovec plain[2] = { { data, 3 }, { there, 3 } };

	say(" readv=%s", amount(process_vm_readv(pid, &ours, 1, &theirs, 1, 0)));
	say(":%s", data);
	say(" writev=%s", amount(process_vm_writev(pid, &ours, 1, &theirs, 1, 0)));
	theirs.iov_base = there + 5 * page;
	say(" untouched=%s", amount(process_vm_readv(pid, &ours, 1, &theirs, 1, 0)));
	say(" pieces=%s", amount(process_vm_readv(pid, two, 2, &theirs, 1, 0)));
	say(" second=%s", amount(process_vm_readv(pid, two, 2, plain, 2, 0)));
	theirs = (struct iovec){ there + whole - 3, 6 };
	say(" over_end=%s", amount(process_vm_readv(pid, &ours, 1, &theirs, 1, 0)));
}

/* Its memory, by way of the process; of this one, and of its parent. */
static void process_vm_own(void)
{
	struct mapping m = map_shared(NPAGES);

	load(m.start);
	watch();
	ask_of(getpid(), m.start);
	say_ran("drv");
	say(" landed=%c%c", driver_byte(0), driver_byte(1));
}

static void process_vm_parent(void)
{
	struct mapping m = map_shared(NPAGES);

	load(m.start);
	watch();
	if (!fork()) {
		munmap(m.start, whole);
		ask_of(getppid(), m.start);
		_exit(0);
	}
	wait(NULL);
	say_ran("drv");
}

/* Local memory of the call is the mapping, the other side plain memory. */
static void process_vm_local(void)
{
	struct mapping m = map_shared(NPAGES);
	char data[8] = "hello";
	struct iovec ours = { m.start + 2 * page, 5 }, theirs = { data, 5 };

	watch();
	say("readv=%s", amount(process_vm_readv(getpid(), &ours, 1, &theirs, 1, 0)));
	say(" page2=%.6s", m.start + 2 * page);
	say(" writev=%s", amount(process_vm_writev(getpid(), &ours, 1, &theirs, 1, 0)));
	say_ran("drv");
}

/* As a debugger does it: a word at a time, in a process that stands still. */
static void ptrace_words(void)
{
	struct mapping m = map_shared(NPAGES);
	pid_t child;
	long word;

	load(m.start);
	child = fork();
	if (!child) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	watch();
	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, child, m.start, NULL);
	say("peek=%s", errno ? error_name(errno) : !memcmp(&word, "PAGE00", 6) ? "PAGE00" : "other");
	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, child, m.start + 5 * page, NULL);
	say(" untouched=%s", errno ? error_name(errno) : "ok");
	say(" poke=%s", status(ptrace(PTRACE_POKEDATA, child, m.start + 64, 0x58)));
	say(" landed=%d", driver_byte(64));
	errno = 0;
	ptrace(PTRACE_PEEKDATA, child, m.start + whole - 4, NULL);
	say(" over_end=%s", error_name(errno));
	say_ran("drv");
	ptrace(PTRACE_CONT, child, NULL, NULL);
	waitpid(child, NULL, 0);
}

/* /proc/PID/mem of another process. */
static void procmem_parent(void)
{
	struct mapping m = map_shared(NPAGES);
	char path[64], data[8] = "";
	int memory;

	load(m.start);
	snprintf(path, sizeof(path), "/proc/%d/mem", getpid());
	watch();
	if (!fork()) {
		memory = open(path, O_RDWR);
		say("read=%s", amount(pread(memory, data, 6, (off_t)m.start)));
		say(":%s", data);
		say(" write=%s", amount(pwrite(memory, "W", 1, (off_t)m.start + 1)));
		say(" over_end=%s", amount(pread(memory, data, 6, (off_t)m.start + whole - 3)));
		_exit(0);
	}
	wait(NULL);
	say(" landed=%d", driver_byte(1) == 'W');
	say_ran("drv");
}

/* Pages of the mapping in another order. */
static void remap_pages(void)
{
	struct mapping m = map_shared(NPAGES);

	load(m.start);
	watch();
	say("swap=%s", status(remap_file_pages(m.start, page, 0, 3, 0)));
	say(" first=%s", page_name(m.start));
	say_ran("drv");
	say(" back=%s", status(remap_file_pages(m.start, page, 0, 0, 0)));
	say(" first=%s", page_name(m.start));
	say(" prot=%s", status(remap_file_pages(m.start, page, PROT_READ, 0, 0)));
	say(" flags=%s", status(remap_file_pages(m.start, page, 0, 0, 0x40)));
	say(" end=%s", status(remap_file_pages(m.start, whole + page, 0, 0, 0)));
	say(" past=%s", status(remap_file_pages(m.start + page, page, 0, 40, 0)));
	say(" nowhere=%s", status(remap_file_pages(free_range(1), page, 0, 0, 0)));
	say(" nvma=%d", areas_in(m.start, whole));
}

/* Pages of a private mapping, and of one that may only be read. */
static void remap_pages_others(void)
{
	int fd = open_device(O_RDWR);
	char *copy = map(NULL, whole, PROT_RW, MAP_PRIVATE, fd, 0);
	char *readable = map(NULL, whole, PROT_READ, MAP_SHARED, open_device(O_RDONLY), 0);

	say("private=%s", copy == MAP_FAILED ? "none" :
	    status(remap_file_pages(copy, page, 0, 3, 0)));
	watch();
	say(" readable=%s", status(remap_file_pages(readable, page, 0, 3, 0)));
	say(" first=%s", page_name(readable));
	say_ran("drv");
}

static unsigned long long entry_of(int pagemap, const char *address)
{
	unsigned long long entry = 0;

	if (pread(pagemap, &entry, 8, (uintptr_t)address / page * 8) != 8)
		say(" pagemap:%s", error_name(errno));
	return entry;
}

static void say_entry(const char *tag, unsigned long long entry)
{
	say(" %s=%s%s%s", tag, entry >> 63 ? "present" : "none", entry >> 62 & 1 ? " swap" : "",
	    entry >> 61 & 1 ? " file" : "");
}

/* What /proc/PID/pagemap says of its pages. */
static void pagemap_entries(void)
{
	struct mapping m = map_shared(NPAGES);
	int pagemap = open("/proc/self/pagemap", O_RDONLY);

	say_entry("untouched", entry_of(pagemap, m.start));
	load(m.start);
	say_entry("loaded", entry_of(pagemap, m.start));
	m.start[page] = 1;
	say_entry("stored", entry_of(pagemap, m.start + page));
	if (!geteuid())
		say(" frame=%d", is_frame_of_device(entry_of(pagemap, m.start) & ((1ULL << 55) - 1)));
	say_entry("beyond", entry_of(pagemap, m.start + whole));
}

/* Locking all that a process has, now and later. */
static void mlockall_now(void)
{
	struct mapping m = map_shared(NPAGES);
	long before_it = locked_memory();

	watch();
	say("all=%s", status(mlockall(MCL_CURRENT)));
	say_ran("drv");
	say(" untouched=%s", load(m.start + 5 * page));
	say_ran("drv");
	say(" locked=%d", locked_memory() > before_it);
	say(" advise=%s", status(madvise(m.start, page, MADV_DONTNEED)));
	say(" none=%s", status(munlockall()));
	say(" left=%ld", locked_memory() - before_it);
	say(" again=%s", status(madvise(m.start, page, MADV_DONTNEED)));
}

static void mlockall_later(void)
{
	char *p;

	say("future=%s", status(mlockall(MCL_FUTURE)));
	watch();
	p = map_shared(NPAGES).start;
	say_ran("map");
	say(" advise=%s", status(madvise(p, page, MADV_DONTNEED)));
	munmap(p, whole);
	say(" onfault=%s", status(mlockall(MCL_FUTURE | MCL_ONFAULT)));
	watch();
	p = map_shared(NPAGES).start;
	say_ran("map");
	say(" first=%s", load(p));
	say_ran("drv");
	say(" grown=%s", mapped(mremap(p, whole, 2 * whole, MREMAP_MAYMOVE)));
	say_ran("drv");
	munlockall();
}

/* How often is a driver asked for pages that are to be there from the beginning? */
static void populate_counts(void)
{
	int fd = open_device(O_RDWR);
	static const struct { const char *name; int prot, flags; } ways[] = {
		{ "populate", PROT_RW, MAP_SHARED | MAP_POPULATE },
		{ "read", PROT_READ, MAP_SHARED | MAP_POPULATE },
		{ "none", PROT_NONE, MAP_SHARED | MAP_POPULATE },
		{ "nonblock", PROT_RW, MAP_SHARED | MAP_POPULATE | MAP_NONBLOCK },
		{ "locked", PROT_RW, MAP_SHARED | MAP_LOCKED },
		{ "write", PROT_WRITE, MAP_SHARED | MAP_POPULATE },
		{ "exec", PROT_READ | PROT_EXEC, MAP_SHARED | MAP_POPULATE },
		{ "private", PROT_RW, MAP_PRIVATE | MAP_POPULATE },
		{ "private_read", PROT_READ, MAP_PRIVATE | MAP_POPULATE },
	};
	size_t i;

	for (i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		char *p;

		watch();
		p = map(NULL, 4 * page, ways[i].prot, ways[i].flags, fd, 0);
		say(" %s=%s", ways[i].name, mapped(p));
		say_ran("");
		if (p == MAP_FAILED)
			continue;
		if (ways[i].prot & PROT_READ)
			load(p);
		if (ways[i].prot & PROT_WRITE)
			store(p + page, 1);
		say_ran("");
	}
	watch();
	say(" beyond=%s", mapped(map(NULL, 4 * page, PROT_RW, MAP_SHARED | MAP_POPULATE, fd,
				     whole - 2 * page)));
	say_ran("");
}

static long kb(const char *file, const char *key)
{
	FILE *text = fopen(file, "r");
	char line[256];
	long value = -1;
	size_t length = strlen(key);

	while (text && fgets(line, sizeof(line), text))
		if (!strncmp(line, key, length) && line[length] == ':')
			sscanf(line + length + 1, "%ld", &value);
	if (text)
		fclose(text);
	return value;
}

/* Is it address space, and resident memory that is shared? */
static void resident_sizes(void)
{
	struct mapping m = map_shared(NPAGES);
	long shared, size;
	size_t i;

	munmap(m.start, whole);
	size = kb("/proc/self/status", "VmSize");
	shared = kb("/proc/self/status", "RssShmem");
	m = map_shared(NPAGES);
	for (i = 0; i < NPAGES; i++)
		m.start[i * page + 100] = 1;
	say("size%+ld", kb("/proc/self/status", "VmSize") - size);
	say(" shared=%d", kb("/proc/self/status", "RssShmem") - shared > 32);
}

/* The same by /proc/self/smaps, under names that are compared. */
static void smaps_sizes(void)
{
	static const char *const keys[] = {
		"Size", "Rss", "Pss", "Shared_Clean", "Shared_Dirty", "Private_Clean",
		"Private_Dirty", "Referenced", "Anonymous", "Swap", "Locked", NULL,
	};
	struct mapping m = map_shared(NPAGES);
	char line[512], key[64];
	unsigned long first, end;
	long value;
	int inside = 0;
	size_t i;
	FILE *smaps;

	for (i = 0; i < NPAGES; i += 2)
		m.start[i * page + 100] = 1;
	smaps = fopen("/proc/self/smaps", "r");
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &first, &end) == 2)
			inside = first <= (uintptr_t)m.start && (uintptr_t)m.start < end;
		else if (inside && sscanf(line, "%63[^:]: %ld kB", key, &value) == 2)
			for (i = 0; keys[i]; i++)
				if (!strcmp(key, keys[i]))
					say(" %s:%ld", key, value);
	}
	fclose(smaps);
}

/* Which pages are there, for mincore? */
static void mincore_pages(void)
{
	struct mapping m = map_shared(NPAGES);
	unsigned char there[NPAGES + 1] = { 0 };
	int i;

	say("untouched=%s", status(mincore(m.start, whole, there)));
	for (i = 0; i < 4; i++)
		say("%c%d", i ? ',' : ':', there[i] & 1);
	m.start[0] = 1;
	load(m.start + 2 * page);
	say(" touched=%s", status(mincore(m.start, whole, there)));
	for (i = 0; i < 4; i++)
		say("%c%d", i ? ',' : ':', there[i] & 1);
	say(" gap=%s", status(mincore(m.start, whole + page, there)));
	say(" unaligned=%s", status(mincore(m.start + 1, page, there)));
	say(" null=%s", status(mincore(m.start, page, NULL)));
	say(" into=%s", status(mincore(m.start, page, (void *)(m.start + 3 * page))));
}

/* Advice by way of a pidfd. */
static void process_advice(void)
{
	struct mapping m = map_shared(NPAGES);
	int pidfd = syscall(SYS_pidfd_open, getpid(), 0);
	static const struct { const char *name; int advice; } kinds[] = {
		{ "cold", 20 }, { "pageout", 21 }, { "willneed", MADV_WILLNEED },
		{ "collapse", 25 }, { "free", 8 },
	};
	struct iovec range = { m.start, whole };
	size_t i;

	load(m.start);
	watch();
	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		say(" %s=%s", kinds[i].name, exactly(syscall(SYS_process_madvise, pidfd, &range, 1,
							     kinds[i].advice, 0), whole));
	say_ran("drv");
	say(" first=%s", load(m.start));
	say_ran("drv");
}

/* A segment of System V's shared memory in its place. */
static void shmat_over(void)
{
	struct mapping m = map_shared(NPAGES);
	int segment = shmget(IPC_PRIVATE, page, IPC_CREAT | 0600);
	void *p;

	watch();
	p = shmat(segment, m.start + 4 * page, 0);
	say("over=%s", p == (void *)-1 ? error_name(errno) : "OK");
	say_ran("drv");
	p = shmat(segment, m.start + 4 * page, SHM_REMAP);
	say(" remap=%s", p == (void *)-1 ? error_name(errno) : "OK");
	say_ran("drv");
	shmctl(segment, IPC_RMID, NULL);
	say(" page3=%s", page_name(m.start + 3 * page));
	say(" page4=%s", page_name(m.start + 4 * page));
	say(" page5=%s", page_name(m.start + 5 * page));
	say(" detach=%s", status(shmdt(m.start + 4 * page)));
	say(" page4=%s", load(m.start + 4 * page));
	say(" device=%s", status(shmdt(m.start)));
}

/* Names and limits that prctl would give to memory. */
static void prctl_names(void)
{
	struct mapping m = map_shared(NPAGES);

	watch();
	say("name=%s", status(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, m.start, whole, "x")));
	say(" middle=%s",
	    status(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, m.start + page, page, "x")));
	say(" unaligned=%s",
	    status(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, m.start + 1, page, "x")));
	say(" gap=%s",
	    status(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, m.start + whole, page, "x")));
	say(" from=%s", status(prctl(PR_SET_NAME, m.start + 3 * page)));
	say(" nvma=%d", areas_in(m.start, whole));
	say_ran("drv");
}

const struct row by_address_rows[] = {
	ROW(futex_shared),
	ROW(futex_private),
	ROW(futex_two),
	ROW(futex_list),
	ROW(futex_untouched),
	ROW(uffd_register),
	ROW(uffd_others),
	ROW(move_pages_of),
	ROW(mempolicy_get),
	ROW(mempolicy_bind),
	ROW(process_vm_own),
	ROW(process_vm_parent),
	ROW(process_vm_local),
	ROW(ptrace_words),
	ROW(procmem_parent),
	ROW(remap_pages),
	ROW(remap_pages_others),
	ROW(pagemap_entries),
	ROW(mlockall_now),
	ROW(mlockall_later),
	ROW(populate_counts),
	ROW(resident_sizes),
	ROW(smaps_sizes),
	ROW(mincore_pages),
	ROW(process_advice),
	ROW(shmat_over),
	ROW(prctl_names),
	{ },
};
