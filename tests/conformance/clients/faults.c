// SPDX-License-Identifier: MIT
/* Page faults: when the driver is asked, what it is told, and what unmap_mapping_range undoes. */
#define _GNU_SOURCE
#include <pthread.h>

#include "row.h"

/* The driver takes all pages away: are they asked for again, or gone for good? */
static void zap(void)
{
	struct mapping m = map_shared(NPAGES);

	load(m.start);
	load(m.start + page);
	watch();
	if (tell_driver(REF_ZAP, 0))
		say("unmap_mapping_range:%s", error_name(errno));
	else
		say("after unmap_mapping_range:");
	say(" read=%s", load(m.start));
	say(" write=%s", store(m.start + page, 1));
	say_ran("drv");
}

/* Reads and writes of new and known pages: which of them is a fault, or asks for leave to write? */
static void fault_order(void)
{
	struct mapping m = map_shared(NPAGES);

	watch();
	load(m.start);
	say_ran("read");
	store(m.start, 1);
	say_ran("then_write");
	store(m.start + page, 1);
	say_ran("write_first");
	load(m.start + page);
	say_ran("then_read");
	load(m.start + 2 * page);
	load(m.start + 3 * page);
	say_ran("2more");
}

/* What the driver finds in struct vm_fault. */
static void fault_fields(void)
{
	int fd = open_device(O_RDWR);
	char *p = map(NULL, 4 * page, PROT_RW, MAP_SHARED, fd, 3 * page);
	struct ref_request seen;

	store(p + 2 * page + 0x123, 1);
	seen = driver_state();
	if (!seen.ran[REF_FAULT]) {
		say("no fault op");
		return;
	}
	say("pgoff=%llu addr=%s flags=%#llx(write)", (unsigned long long)seen.fault_pgoff,
	    seen.fault_address == (uintptr_t)p + 2 * page ? "page-aligned" : "exact",
	    (unsigned long long)seen.fault_flags);
	load(p);
	seen = driver_state();
	say(" read: pgoff=%llu flags=%#llx", (unsigned long long)seen.fault_pgoff,
	    (unsigned long long)seen.fault_flags);
}

static int go;

static void *touch_when_told(void *address)
{
	while (!__atomic_load_n(&go, __ATOMIC_SEQ_CST))
		;
	(void)*(volatile char *)address;
	return NULL;
}

/* Eight threads touch one new page at once: at most one fault each. */
static void fault_threads(void)
{
	struct mapping m = map_shared(NPAGES);
	pthread_t threads[8];
	unsigned long long before, faults;
	int i;

	for (i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, touch_when_told, m.start);
	before = driver_state().ran[REF_FAULT];
	__atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	faults = driver_state().ran[REF_FAULT] - before;
	say("8 threads, 1 page: faults=%s", !faults ? "0" : faults <= 8 ? "1..8" : ">8");
}

const struct row fault_rows[] = {
	ROW(zap),
	ROW(fault_order),
	ROW(fault_fields),
	ROW(fault_threads),
	{ },
};
