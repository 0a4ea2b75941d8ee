// SPDX-License-Identifier: MIT
/*
 * memory DEVICE BYTES BATCHES: copy through and touch BYTES of mapped memory, of a device, of a plain
 * memfd and of another one ("again") in turn, so that all see the same noise. Where the kernel finds
 * frames for a memfd matters to caches and TLB, and it finds worse ones first. So all three get theirs
 * in turn, 64 KiB at a time; the two plain ones tell how much is still chance.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

enum { PAGE = 4096, PIECE = 64 << 10, LEAST = 64 << 20, KINDS = 3 };

static char *map(int fd, size_t size)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	return memory;
}

static double copy(char *memory, char *private, size_t size, long times)
{
	double start = now();

	for (long i = 0; i < times; i++) {
		memcpy(memory, private, size);
		__asm__ volatile("" ::: "memory");
		memcpy(private, memory, size);
		__asm__ volatile("" ::: "memory");
	}
	return now() - start;
}

static double touch(volatile char *memory, size_t size, long times)
{
	double start = now();

	for (long i = 0; i < times; i++)
		for (size_t at = 0; at < size; at += PAGE)
			memory[at + (at / PAGE * 64) % PAGE]++; /* not all in one cache set */
	return now() - start;
}

int main(int argc, char **argv)
{
	const char *copy_names[] = { "copy-device", "copy-plain", "copy-again" };
	const char *touch_names[] = { "touch-device", "touch-plain", "touch-again" };
	char *memory[KINDS], *private;
	int batches, device, plain, again;
	long copies, touches;
	size_t size;

	if (argc < 4)
		return 2;
	size = strtoul(argv[2], NULL, 0);
	batches = atoi(argv[3]);
	device = open(argv[1], O_RDWR);
	plain = memfd_create("plain", 0);
	again = memfd_create("again", 0);
	if (device < 0 || ftruncate(plain, size) || ftruncate(again, size))
		die(argv[1]);
	memory[0] = map(device, size);
	memory[1] = map(plain, size);
	memory[2] = map(again, size);
	for (size_t at = 0; at < size; at += PIECE)
		for (int turn = 0; turn < KINDS; turn++)
			memset(memory[(turn + at / PIECE) % KINDS] + at, 1, PIECE);
	private = malloc(size);
	memset(private, 2, size);
	copies = size < LEAST ? LEAST / size : 1;
	touches = 16 * copies;
	for (int batch = -1; batch < batches; batch++)
		for (int turn = 0; turn < KINDS; turn++) {
			int which = (turn + batch + KINDS) % KINDS;
			double copying = copy(memory[which], private, size, copies);
			double touching = touch(memory[which], size, touches);

			if (batch < 0)
				continue;
			report(copy_names[which], copying, copies);
			report(touch_names[which], touching, touches);
		}
	return 0;
}
