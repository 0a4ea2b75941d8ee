// SPDX-License-Identifier: MIT
/*
 * Finds the system calls of the C library and the loader that can be redirected to the gate.
 *
 * It looks at the images that this process has itself: most of its clients have the same ones, which
 * their build IDs say. Only sequences are taken of which it is known that nothing but their first
 * byte is jumped to, see enum site_kind. Each is five bytes long at least: room for a jump.
 */
#include "redirect.h"

#include <link.h>
#include <string.h>

/* How many bytes behind the start of a site its call returns to. */
int mapdev_site_return(const struct site *site)
{
	static const uint8_t returns[] = { [MOV] = 7, [FLAG] = 13, [TLS] = 16, [BARE] = 4 };

	return returns[site->kind];
}

#ifdef __x86_64__

struct search {
	struct image *images;
	int count;
	const uint8_t *rules;
};

static const uint8_t SYSCALL[] = { 0x0f, 0x05 };
static const uint8_t XOR_SYSCALL[] = { 0x31, 0xc0, 0x0f, 0x05 };
static const uint8_t CMP_ERROR[] = { 0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff };
static const uint8_t MOV_TLS[] = { 0x64, 0x8b, 0x04, 0x25, 0x18, 0x00, 0x00, 0x00, 0x85, 0xc0 };

/* Whether what stands before is a return, padding, or the mark of a place that is jumped to. */
static bool begins_function(const uint8_t *at)
{
	return at[-1] == 0xc3 || at[-1] == 0x90 || at[-1] == 0xcc || !at[-1] || at[-1] == 0xfa;
}

/* Recognise the site of the `syscall` instruction at `at`; `room` bytes before it can be read. */
static bool recognise(const uint8_t *at, uint64_t room, struct site *site)
{
	if (room >= 5 && at[-5] == 0xb8 && !at[-2] && !at[-1]) {
		site->kind = MOV;
		site->number = at[-4] | at[-3] << 8;
		return true;
	}
	if (room < 16 || memcmp(at - 2, XOR_SYSCALL, sizeof(XOR_SYSCALL)))
		return false;
	site->number = 0;
	if ((at[-4] & 0xfe) == 0x74) {
		if (!memcmp(at - 14, MOV_TLS, sizeof(MOV_TLS))) {
			site->kind = TLS;
			return true;
		}
		if (at[-11] == 0x80 && at[-10] == 0x3d && !at[-5]) {
			site->kind = FLAG;
			return true;
		}
	}
	site->kind = BARE;
	return !((uintptr_t)(at - 2) & 15) && begins_function(at - 2) &&
	       !memcmp(at + 2, CMP_ERROR, sizeof(CMP_ERROR));
}

static void find_sites(struct image *image, const uint8_t *start, const ElfW(Phdr) *text,
		       const uint8_t *rules)
{
	const uint8_t *begin = start + text->p_vaddr, *end = begin + text->p_memsz, *at = begin;

	while (image->count < SITES && (at = memmem(at, end - at, SYSCALL, sizeof(SYSCALL)))) {
		struct site *site = &image->sites[image->count];

		if (end - at >= 16 && recognise(at, at - begin, site) &&
		    site->number < GATE_SYSCALLS && rules[site->number]) {
			site->at = at + 2 - mapdev_site_return(site) - start;
			memcpy(site->code, start + site->at, sizeof(site->code));
			image->count++;
		}
		at += sizeof(SYSCALL);
	}
}

static int each(struct dl_phdr_info *info, size_t size, void *data)
{
	const uint8_t *start = (const uint8_t *)info->dlpi_addr;
	const char *name = info->dlpi_name ? strrchr(info->dlpi_name, '/') : NULL;
	struct search *search = data;
	struct image *image = &search->images[search->count];
	const ElfW(Phdr) *text = NULL;

	(void)size;
	if (search->count == IMAGES || !name)
		return 0;
	if (strncmp(name, "/ld-", 4) && strncmp(name, "/libc.", 6) && strncmp(name, "/libc-", 6))
		return 0;
	*image = (struct image){ .is_loader = !strncmp(name, "/ld-", 4) };
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];

		if (part->p_type == PT_LOAD && part->p_flags & PF_X) {
			if (text)
				return 0;	/* which of the two? */
			text = part;
		}
		/* The notes of a build ID are those of 4 bytes; others say nothing of the file. */
		if (part->p_type == PT_NOTE && part->p_align <= 4 && !image->note_size) {
			image->note_at = part->p_vaddr;
			image->note_size = part->p_memsz < NOTE ? part->p_memsz : NOTE;
			memcpy(image->note, start + part->p_vaddr, image->note_size);
		}
	}
	if (!text || image->note_size < 32 || text->p_filesz != text->p_memsz)
		return 0;
	image->text_end = text->p_vaddr + text->p_memsz;
	find_sites(image, start, text, search->rules);
	if (image->count)
		search->count++;
	return 0;
}

/* Return how many images there are. */
int mapdev_find_images(struct image *images, const uint8_t rules[GATE_SYSCALLS])
{
	struct search search = { .images = images, .rules = rules };

	dl_iterate_phdr(each, &search);
	return search.count;
}

#else

int mapdev_find_images(struct image *images, const uint8_t rules[GATE_SYSCALLS])
{
	(void)images;
	(void)rules;
	return 0;
}

#endif
