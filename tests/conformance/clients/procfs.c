// SPDX-License-Identifier: MIT
/* How the kernel describes mappings in /proc: helpers, and the rows about that alone. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "row.h"

int areas_in(const void *start, size_t length)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	uintptr_t from = (uintptr_t)start, to = from + length;
	unsigned long first, end;
	char line[512];
	int count = 0;

	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx", &first, &end) == 2 && first < to && end > from)
			count++;
	fclose(maps);
	return count;
}

void say_maps(const void *address)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long first, end, offset, inode;
	char line[512], mode[8], number[16], path[256];

	while (fgets(line, sizeof(line), maps)) {
		*path = 0;
		if (sscanf(line, "%lx-%lx %7s %lx %15s %lu %255[^\n]",
			   &first, &end, mode, &offset, number, &inode, path) < 6)
			continue;
		if ((uintptr_t)address < first || (uintptr_t)address >= end)
			continue;
		if (is_frame_of_device(offset / page))	/* as pfn, which differs each time */
			say(" %s off=PHYS(pfn<<12)", mode);
		else
			say(" %s off=%08lx", mode, offset);
		say(" dev=%s ino=%s path=%s", number, inode ? "nonzero" : "0", path);
		break;
	}
	fclose(maps);
}

static int wanted(const char *key, const char *const *keys)
{
	for (; *keys; keys++)
		if (!strcmp(key, *keys))
			return 1;
	return 0;
}

void say_smaps(const void *address, const char *const *keys)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	char line[512], key[64], value[256];
	unsigned long first, end;
	int inside = 0;

	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &first, &end) == 2) {
			inside = first <= (uintptr_t)address && (uintptr_t)address < end;
			continue;
		}
		if (!inside || sscanf(line, "%63[^:]: %255[^\n]", key, value) != 2)
			continue;
		while (value[strlen(value) - 1] == ' ')
			value[strlen(value) - 1] = 0;
		if (wanted(key, keys))
			say(" %s=%s", key, value);
	}
	fclose(smaps);
}

long locked_memory(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[256];
	long value = -1;

	while (fgets(line, sizeof(line), file))
		sscanf(line, "VmLck: %ld", &value);
	fclose(file);
	return value;
}

/* Does the line of a mapping show the offset that was asked for? */
static void maps_shared_off3(void)
{
	int fd = open_device(O_RDWR);

	say_maps(map(NULL, page, PROT_READ, MAP_SHARED, fd, 3 * page));
}

/* Does a shared mapping of a file opened for reading look shared? */
static void maps_rdonly(void)
{
	int fd = open_device(O_RDONLY);
	char *p = map(NULL, whole, PROT_READ, MAP_SHARED, fd, 0);

	say_maps(p);
	say_smaps(p, (const char *const[]){ "VmFlags", NULL });
}

/* Is the link in /proc/self/map_files the node, and does opening it open the device? */
static void maps_files_link(void)
{
	struct mapping m = map_shared(NPAGES);
	char link[96], target[96] = "";
	long length;
	int fd;

	if (geteuid())
		cannot("open links in /proc/self/map_files, which needs privilege");
	snprintf(link, sizeof(link), "/proc/self/map_files/%lx-%lx",
		 (unsigned long)m.start, (unsigned long)m.start + whole);
	length = readlink(link, target, sizeof(target) - 1);
	say("readlink=%s", length < 0 ? error_name(errno) : target);
	watch();
	fd = open(link, O_RDWR);
	say(" open=%s", fd < 0 ? error_name(errno) : "ok");
	say_ran("drv");
}

const struct row procfs_rows[] = {
	ROW(maps_shared_off3),
	ROW(maps_rdonly),
	ROW(maps_files_link),
	{ },
};
