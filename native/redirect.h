/* SPDX-License-Identifier: MIT */
/* The host's side of the gate: see gate.h. */
#ifndef MAPDEV_REDIRECT_H
#define MAPDEV_REDIRECT_H

#include "native.h"
#include "gate.h"

/* --- sites.c --------------------------------------------------------------------------------- */

#define SITES 96
#define IMAGES 4
#define NOTE 96		/* bytes */

/* The ways in which compilers put a system call's number into eax. */
enum site_kind {
	MOV,		/* mov $number, %eax; syscall */
	FLAG,		/* cmpb $0, flag(%rip); je or jne; xor %eax, %eax; syscall */
	TLS,		/* mov %fs:0x18, %eax; test; je or jne; xor %eax, %eax; syscall */
	BARE,		/* xor %eax, %eax; syscall; cmp $-4096, %rax: all of a small function */
};

struct site {
	uint64_t at;		/* of its first byte, from the start of the image */
	uint32_t number;
	enum site_kind kind;
	uint8_t code[16];	/* as it is unchanged */
};

/* A file that clients map: the C library or the loader. Addresses count from its start. */
struct image {
	uint64_t note_at;	/* its notes, the build ID among them: two files differ in them */
	size_t note_size;
	uint8_t note[NOTE];
	uint64_t text_end;	/* behind that there is nothing up to the end of the page */
	bool is_loader;
	int count;
	struct site sites[SITES];
};

int mapdev_find_images(struct image *images, const uint8_t rules[GATE_SYSCALLS]);
int mapdev_site_return(const struct site *site);

/* --- table.c --------------------------------------------------------------------------------- */

#define PENDING 64
#define STUB 128
#define ATTEMPTS 1024

/* A client that is about to map the gate. */
struct pending {
	uint32_t tid;		/* 0: none */
	uint64_t ip;
	uint8_t code[STUB];	/* what stood at `ip` */
};

struct gate {
	PyObject_HEAD
	struct names *names;
	int memfd;		/* what clients get: not for writing */
	struct gate_table *table;
	uint64_t secret;	/* in the upper half: of calls that the filter lets pass */
	int filters;		/* that a client has, if it has made none itself */
	int images_count;	/* -1: not looked for yet */
	struct image *images;
	uint8_t rules[GATE_SYSCALLS];
	uint32_t always;	/* bits of the state that stay */
	uint64_t offsets[GATE_PAGE / 64];	/* where in a page calls of sites return to */
	struct pending pending[PENDING];
	uint64_t attempts[ATTEMPTS];	/* which images of which processes were looked at */
	unsigned long redirected, notified;
};

extern PyType_Spec mapdev_gate_spec;

void mapdev_gate_set_state(struct gate *gate, const struct state *state);

/* --- redirect.c ------------------------------------------------------------------------------ */

bool mapdev_redirect(struct gate *gate, int listener, const uint64_t *call);
void mapdev_close_gate(const struct gate *gate, uint32_t tid);

#endif
