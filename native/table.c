// SPDX-License-Identifier: MIT
/*
 * The class Gate: the memory that clients map as the gate, and its table, which the host changes.
 *
 * Used in the host's thread only, but for the names (names.c). Clients have descriptors and mappings
 * that can't be written through; the host has a mapping of its own.
 */
#include "redirect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif

#ifdef __x86_64__
extern const char __start_mapdev_gate[], __stop_mapdev_gate[];
#else
static const char __start_mapdev_gate[1], *const __stop_mapdev_gate = __start_mapdev_gate;
#endif

/* Show clients why calls have to be handed over. */
void mapdev_gate_set_state(struct gate *gate, const struct state *state)
{
	uint32_t bits = gate->always;

	if (state->needs_all_calls)
		bits |= GATE_ALL;
	if (state->has_files)
		bits |= GATE_FILES;
	if (state->has_spaces)
		bits |= GATE_SPACES;
	if (state->roots_differ)
		bits |= GATE_CAREFUL;
	if (state->has_visitors)
		bits |= GATE_VISITORS;
	__atomic_store_n(&gate->table->state, bits, __ATOMIC_SEQ_CST);
}

static PyObject *gate_add_state(PyObject *object, PyObject *args)
{
	struct gate *self = (struct gate *)object;
	unsigned int bits;
	int stays;

	if (!PyArg_ParseTuple(args, "Ip:add_state", &bits, &stays))
		return NULL;
	if (stays)
		self->always |= bits;
	__atomic_or_fetch(&self->table->state, bits, __ATOMIC_SEQ_CST);
	Py_RETURN_NONE;
}

static PyObject *gate_redirect(PyObject *object, PyObject *args)
{
	struct gate *self = (struct gate *)object;
	struct seccomp_notif notification;
	uint64_t words[WORDS];
	Py_buffer data;
	int listener;
	bool is_answered;

	if (!PyArg_ParseTuple(args, "iy*:redirect", &listener, &data))
		return NULL;
	if (data.len != sizeof(notification)) {
		PyBuffer_Release(&data);
		return PyErr_Format(PyExc_ValueError, "a notification has %zu bytes",
				    sizeof(notification));
	}
	memcpy(&notification, data.buf, sizeof(notification));
	PyBuffer_Release(&data);
	mapdev_words_of(words, &notification);
	Py_BEGIN_ALLOW_THREADS
	is_answered = mapdev_redirect(self, listener, words);
	Py_END_ALLOW_THREADS
	return PyBool_FromLong(is_answered);
}

static PyObject *gate_close_in(PyObject *object, PyObject *args)
{
	unsigned int tid;

	if (!PyArg_ParseTuple(args, "I:close_in", &tid))
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	mapdev_close_gate((struct gate *)object, tid);
	Py_END_ALLOW_THREADS
	Py_RETURN_NONE;
}

static PyObject *gate_counts(PyObject *object, PyObject *args)
{
	struct gate *self = (struct gate *)object;

	(void)args;
	return Py_BuildValue("(kk)", self->redirected, self->notified);
}

static PyObject *gate_check(PyObject *object, PyObject *args)
{
	struct gate *self = (struct gate *)object;
	unsigned long long words[6];
	unsigned int number;
	uint64_t call[6];
	int verdict = GATE_HAND_OVER;

	if (!PyArg_ParseTuple(args, "IKKKKKK:check", &number, words, words + 1, words + 2,
			      words + 3, words + 4, words + 5))
		return NULL;
	for (int i = 0; i < 6; i++)
		call[i] = words[i];
	(void)self;
	(void)call;
#ifdef __x86_64__
	verdict = mapdev_gate_check(call, number, self->table);
#endif
	return PyLong_FromLong(verdict);
}

/* Take (number, rule, fd_at, path_at, bits_at, bits, follows, lists). */
static int take_rule(struct gate *self, PyObject *item)
{
	unsigned int number, rule, fd_at, path_at, bits_at;
	PyObject *tuple = PySequence_Tuple(item);
	unsigned long long bits;
	int follows, lists, fine;

	fine = tuple && PyArg_ParseTuple(tuple, "IIIIIKpp", &number, &rule, &fd_at, &path_at,
					 &bits_at, &bits, &follows, &lists);
	Py_XDECREF(tuple);
	if (!fine)
		return -1;
	if (number >= GATE_SYSCALLS || rule > GATE_MAP ||
	    (fd_at > 5 && fd_at != GATE_NOWHERE) || (path_at > 5 && path_at != GATE_NOWHERE) ||
	    (bits_at > 5 && bits_at != GATE_NOWHERE) ||
	    (fd_at == GATE_NOWHERE && path_at == GATE_NOWHERE)) {
		PyErr_Format(PyExc_ValueError, "no such number, rule or argument");
		return -1;
	}
	self->rules[number] = rule;
	self->table->checks[number] = (struct gate_check){
		.rule = rule, .fd_at = fd_at, .path_at = path_at, .bits_at = bits_at,
		.follows = follows, .lists = lists, .bits = bits,
	};
	return 0;
}

static int take_rules(struct gate *self, PyObject *items)
{
	PyObject *iterator = PyObject_GetIter(items), *item;
	int failed = 0;

	if (!iterator)
		return -1;
	while (!failed && (item = PyIter_Next(iterator))) {
		failed = take_rule(self, item);
		Py_DECREF(item);
	}
	Py_DECREF(iterator);
	return failed || PyErr_Occurred() ? -1 : 0;
}

static int take_prefixes(struct gate *self, PyObject *items)
{
	PyObject *tuple = PySequence_Tuple(items);
	Py_ssize_t count = tuple ? PyTuple_Size(tuple) : -1, size;
	char *text;

	for (Py_ssize_t i = 0; i < count; i++) {
		if (PyBytes_AsStringAndSize(PyTuple_GetItem(tuple, i), &text, &size)) {
			count = -1;
		} else if (i >= 8 || !size || size >= 32) {
			PyErr_Format(PyExc_ValueError, "too many prefixes, or too long a one");
			count = -1;
		} else {
			memcpy(self->table->prefixes[i], text, size);
		}
	}
	Py_XDECREF(tuple);
	return count < 0 ? -1 : 0;
}

/* Make the memory; 0 or -1 with errno. */
static int make_memory(struct gate *self)
{
	size_t size = __stop_mapdev_gate - __start_mapdev_gate;
	int fd = memfd_create("mapdev gate", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char path[32];
	char *start;

	if (fd < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	start = ftruncate(fd, GATE_SIZE) ? MAP_FAILED :
		mmap(NULL, GATE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (start != MAP_FAILED) {
		self->table = (struct gate_table *)(start + GATE_PAGE);
		memcpy(start, __start_mapdev_gate, size);
		if (getrandom(&self->table->magic, sizeof(self->table->magic), 0) > 0 &&
		    !fcntl(fd, F_ADD_SEALS,
			   F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
			self->memfd = open(path, O_RDONLY | O_CLOEXEC);
	}
	close(fd);
	return self->memfd < 0 ? -1 : 0;
}

static void gate_dealloc(PyObject *object)
{
	struct gate *self = (struct gate *)object;
	PyTypeObject *type = Py_TYPE(object);

	if (self->names)
		mapdev_names_show(self->names, NULL);
	if (self->table)
		munmap((char *)self->table - GATE_PAGE, GATE_SIZE);
	if (self->memfd >= 0)
		close(self->memfd);
	free(self->images);
	Py_XDECREF((PyObject *)self->names);
	PyObject_Free(object);
	Py_DECREF(type);
}

static PyObject *gate_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
	PyObject *names, *names_type, *rules, *prefixes;
	unsigned int base, secret, filters;
	struct gate *self;
	int fits;

	if (keywords && PyDict_Size(keywords))
		return PyErr_Format(PyExc_TypeError, "Gate takes no keywords");
	if (!PyArg_ParseTuple(args, "OOOIII:Gate", &names, &rules, &prefixes, &base, &secret,
			      &filters))
		return NULL;
	names_type = PyType_GetModuleState(type) ? *(PyObject **)PyType_GetModuleState(type) : NULL;
	if (!names_type)
		return PyErr_Format(PyExc_SystemError, "the module is gone");
	fits = PyObject_IsInstance(names, names_type);
	if (fits < 0)
		return NULL;
	if (!fits)
		return PyErr_Format(PyExc_TypeError, "Gate takes Names");
#ifndef __x86_64__
	return PyErr_Format(PyExc_NotImplementedError, "there is no gate for this processor");
#endif
	self = (struct gate *)PyType_GenericAlloc(type, 0);
	if (!self)
		return NULL;
	self->memfd = -1;
	self->images_count = -1;
	self->secret = (uint64_t)secret << 32;
	self->filters = (int)filters;
	if (make_memory(self)) {
		PyErr_SetFromErrno(PyExc_OSError);
		goto failed;
	}
	self->table->base = base;
	self->table->state = GATE_ALL;	/* until it is known */
	if (take_rules(self, rules) || take_prefixes(self, prefixes))
		goto failed;
	Py_INCREF(names);
	self->names = (struct names *)names;
	mapdev_names_show(self->names, self->table);
	return (PyObject *)self;
failed:
	Py_DECREF((PyObject *)self);
	return NULL;
}

static PyMethodDef methods[] = {
	{ "add_state", gate_add_state, METH_VARARGS,
	  "add_state(bits, stays): hand calls over for another reason, before the next wait." },
	{ "redirect", gate_redirect, METH_VARARGS,
	  "redirect(listener, notification): redirect the calls of its client, if it can be; True if\n"
	  "the call has been answered for that." },
	{ "close_in", gate_close_in, METH_VARARGS, "close_in(tid): redirect a client's calls no more." },
	{ "counts", gate_counts, METH_NOARGS, "counts(): images redirected, calls handed over." },
	{ "check", gate_check, METH_VARARGS,
	  "check(number, a, b, c, d, e, f): what the gate does with a call of this process; 0: hands it\n"
	  "over." },
	{ 0 },
};

static PyType_Slot slots[] = {
	{ Py_tp_new, gate_new },
	{ Py_tp_dealloc, gate_dealloc },
	{ Py_tp_methods, methods },
	{ Py_tp_doc, "Gate(names, rules, prefixes, base, secret, filters): see native/gate.h." },
	{ 0, NULL },
};

PyType_Spec mapdev_gate_spec = {
	.name = "mapdev._native.Gate",
	.basicsize = sizeof(struct gate),
	.flags = Py_TPFLAGS_DEFAULT,
	.slots = slots,
};
