/* SPDX-License-Identifier: MIT */
/*
 * The gate: pages at a fixed address in clients, from which the filter lets calls with paths pass.
 *
 * Code there looks at a call as classify.c does. If it surely concerns no device, the code makes the
 * call itself; otherwise the call is made where the program makes it, and the filter hands it over.
 * So the gate saves notifications and decides nothing: a client without it, or with only a part of
 * its calls redirected to it, works the same.
 *
 * All clients of a host map one memfd, privately and without the right to write: a page of code, the
 * table, which the host changes while clients read it, and a page that the host writes in each
 * client alone. gate.c is the code, sites.c finds the calls of the C library and the loader that can
 * be redirected, redirect.c puts gate and redirections into clients, table.c is the host's side.
 */
#ifndef MAPDEV_GATE_H
#define MAPDEV_GATE_H

#include <stdbool.h>
#include <stdint.h>

/* Below where linkers place programs (lld: 0x200000), above what Wine reserves (0x110000). */
#define GATE 0x1e0000ul
#define GATE_PAGE 4096ul
#define GATE_TABLE (GATE + GATE_PAGE)

#define GATE_SYSCALLS 512
#define GATE_PATH 256		/* bytes: a longer path is handed over */
#define GATE_OURS 65536		/* bits, one for each hash of a name */
#define GATE_MERGED 32768
#define GATE_NOWHERE 0xff	/* in place of an argument's index */

/* How a call is treated; set in quick.py for each number. */
enum gate_rule {
	GATE_NEVER,		/* handed over */
	GATE_LOOK,		/* it changes nothing: made first, looked at again if it fails */
	GATE_OPEN,		/* looked at before it is made; a thread may be cancelled in it */
	GATE_FILE,		/* on a descriptor */
	GATE_WAIT,		/* the same, and it may wait: a thread may be cancelled in it */
	GATE_READ,		/* the same, and those on standard descriptors do wait */
	GATE_MAP,		/* on a descriptor, but handed over if `bits` are set */
};

/* Why calls are handed over that otherwise are not; bits of `state`. */
enum gate_state {
	GATE_ALL = 1,		/* all calls matter */
	GATE_FILES = 2,		/* there are open devices */
	GATE_SPACES = 4,	/* there are mapped devices */
	GATE_CAREFUL = 8,	/* links are looked at first: what they lead to may exist twice */
	GATE_VISITORS = 16,	/* a relative path may start from a directory of the host's */
};

struct gate_check {
	uint8_t rule;
	uint8_t fd_at;		/* indices of arguments, or GATE_NOWHERE */
	uint8_t path_at;
	uint8_t bits_at;
	bool follows;		/* a link in the last place is followed, unless `bits` are set */
	bool lists;		/* it may open a directory to list it */
	uint64_t bits;
};

struct gate_table {
	uint64_t magic;		/* of this host */
	uint32_t state;
	uint32_t base;		/* descriptors of devices begin here */
	uint32_t is_careful;	/* as GATE_CAREFUL, but it stays */
	char prefixes[8][32];	/* of paths into /proc; an empty one ends them */
	struct gate_check checks[GATE_SYSCALLS];
	uint64_t ours[GATE_OURS / 64];		/* a path with one of these anywhere is handed over */
	uint64_t merged[GATE_MERGED / 64];	/* one that is opened and ends in one of these, too */
};

#define GATE_PRIVATE_OFFSET \
	(GATE_PAGE + (sizeof(struct gate_table) + GATE_PAGE - 1) / GATE_PAGE * GATE_PAGE)
#define GATE_SIZE (GATE_PRIVATE_OFFSET + GATE_PAGE)

/* What the host writes in one client. */
struct gate_private {
	uint32_t is_closed;	/* nothing passes any more */
};

/* In the upper half of the number that a redirected call comes with. */
#define GATE_NO_TLS 0x10000	/* of the loader, which runs before threads can be told apart */

/* Two hashes at a time would cost more than they save: a wrong hit only costs a notification. */
static inline __attribute__((always_inline)) uint32_t gate_hash(uint32_t hash, uint8_t byte)
{
	return (hash << 5 | hash >> 27) ^ byte;
}

static inline __attribute__((always_inline)) uint32_t gate_bit(uint32_t hash)
{
	return hash * 2654435761u >> 16;
}

/* What gate_check answers. */
enum { GATE_HAND_OVER, GATE_PASS, GATE_PASS_AND_LOOK, GATE_PASS_AND_LOOK_ALWAYS };

/* gate.c: `call` is six arguments. */
int mapdev_gate_check(const uint64_t *call, uint32_t number, const struct gate_table *table);
int mapdev_gate_was_wrong(const uint64_t *call, uint32_t number, const struct gate_table *table,
			  int64_t result);
extern const char mapdev_gate_entry[];

#endif
