/* SPDX-License-Identifier: MIT */
/*
 * mapdev._native: the embedded host's fast path and hot system calls, as a C extension.
 *
 * Nothing here decides what a call means to a device. classify.c recognises calls that surely
 * concern none, by the same rules as Quick in syscalls/quick.py, which stays the reference: all
 * tables come from there. Whatever is in doubt is left to Python.
 *
 *	names.c		the names of nodes, which another thread may change while calls are served
 *	classify.c	which calls concern no device
 *	serve.c		waits for calls and passes these on, without the interpreter's lock (the GIL)
 *	quick.c		the class Quick, by which Python waits for the others
 *	gate.h		the gate: calls that clients pass on themselves; its files
 *	syscalls.c	process_vm_readv, process_vm_writev, ptrace and others, one function each
 *	module.c	the module
 *
 * Built for the stable ABI of Python 3.11. "Bad input never crashes" is a rule here: each argument
 * is converted with a check, and each object can be used by several threads.
 */
#ifndef MAPDEV_NATIVE_H
#define MAPDEV_NATIVE_H

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include <linux/seccomp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

/* Raised when C and Python have to change together; mapdev.host.embedded.native compares it. */
#define MAPDEV_NATIVE_VERSION 4

/* --- names.c --------------------------------------------------------------------------------- */

#define BUCKETS 512

struct name {
	struct name *next;
	size_t size;
	char text[];
};

struct set {
	struct name *buckets[BUCKETS];
};

struct names {
	PyObject_HEAD
	pthread_rwlock_t lock;	/* taken without the GIL */
	struct set ours;	/* a path with one of these anywhere may be the host's */
	struct set merged;	/* directories that exist and have names of the host's */
	struct gate_table *table;	/* where clients see them, or NULL */
	uint32_t is_careful;	/* some hide names that exist for real */
};

extern PyType_Spec mapdev_names_spec;

struct gate_table;

void mapdev_names_show(struct names *names, struct gate_table *table);
bool mapdev_names_any(struct names *names, const char *path, size_t size);
bool mapdev_names_is_merged(struct names *names, const char *name, size_t size);

/* --- classify.c ------------------------------------------------------------------------------ */

/* A notification as an array of words: the indices are those of NOTIFICATION in notify.py. */
enum { ID, TID, ZERO, NR, ARCH, IP, ARG0, WORDS = ARG0 + 6 };

#define SYSCALLS 1024
#define LINK_SIZE 64

/* How the calls of one number are looked at: see _CHECKS in quick.py. */
struct check {
	uint8_t fd_at;
	uint8_t path_at;
	uint8_t bits_at;
	bool lists;		/* it may open a directory to list it */
	uint64_t bits;
};

#define PREFIXES 8
#define PREFIX_SIZE 32

/* What does not change while the host lives. */
struct rules {
	struct check checks[SYSCALLS];
	uint32_t base;		/* descriptors of devices begin here */
	uint32_t arch;
	uint64_t page_size;
	char prefixes[PREFIXES][PREFIX_SIZE];	/* of paths into /proc; an empty one ends them */
};

/* What only the caller of Quick.wait changes, so not while that waits. */
struct state {
	bool needs_all_calls;
	bool has_spaces;
	bool roots_differ;
	bool has_visitors;	/* a relative path may start from a directory of the host's */
	bool may_wait;		/* for who serves a file system that a path leads to */
	bool has_files;
};

enum verdict {
	PASS_ON,	/* surely no device's */
	HAND_OVER,	/* to Python, which decides */
	LOOK_UP,	/* a descriptor whose link in /proc has to be compared with those of devices */
};

enum verdict mapdev_classify(const struct rules *rules, const struct state *state,
			     struct names *names, const uint64_t *call, char link[LINK_SIZE + 1]);

/* --- serve.c, quick.c ------------------------------------------------------------------------ */

#define MANY 64		/* events at a time */

struct gate;

struct quick {
	PyObject_HEAD
	PyObject *listeners;	/* dict: the keys are their descriptors */
	PyObject *links;	/* dict: the keys are the links of open devices */
	struct names *names;
	struct gate *gate;	/* or NULL */
	int epoll;
	bool is_waiting;
	struct rules rules;
	Py_ssize_t count;	/* of listeners, at the start of a wait */
	int *fds;
};

enum outcome { EVENTS, CALL, LINK, SIGNAL, FAILED };

/* Where a wait stands. */
struct wait {
	struct state state;
	double due;		/* by CLOCK_MONOTONIC, infinity for never */
	struct epoll_event events[MANY];
	int count;		/* of events */
	int next;		/* event to look at */
	uint64_t call[WORDS];
	char link[LINK_SIZE + 1];
};

void mapdev_words_of(uint64_t *words, const struct seccomp_notif *notification);
int mapdev_pass_on(const struct wait *wait);
enum outcome mapdev_serve(const struct quick *self, struct wait *wait);

extern PyType_Spec mapdev_quick_spec;

/* --- syscalls.c ------------------------------------------------------------------------------ */

PyObject *mapdev_read_memory(PyObject *module, PyObject *args);
PyObject *mapdev_write_memory(PyObject *module, PyObject *args);
PyObject *mapdev_ptrace(PyObject *module, PyObject *args);
PyObject *mapdev_pidfd_getfd(PyObject *module, PyObject *args);
PyObject *mapdev_link_of(PyObject *module, PyObject *args);
PyObject *mapdev_respond(PyObject *module, PyObject *args);

#endif
