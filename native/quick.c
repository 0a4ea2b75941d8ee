// SPDX-License-Identifier: MIT
/*
 * The class Quick, with which Python waits for calls.
 *
 * The GIL is held at the start and the end of a wait, and in between only to compare a link in /proc
 * with those of open devices, which is rare. `wait` is for one thread at a time, the host's. What
 * it copies at its start (listeners, struct state) is changed by that thread alone.
 */
#include "native.h"
#include "redirect.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* 1: the link is that of a device, 0: it is not, -1: exception. */
static int is_known(const struct quick *self, const char *link)
{
	PyObject *text = PyUnicode_DecodeFSDefault(link);
	int found = text ? PyDict_Contains(self->links, text) : -1;

	Py_XDECREF(text);
	return found;
}

static PyObject *tuple_of_words(const uint64_t *words)
{
	PyObject *tuple = PyTuple_New(WORDS), *word;

	for (int i = 0; tuple && i < WORDS; i++) {
		word = i == NR ? PyLong_FromLong((int32_t)words[i]) :
				 PyLong_FromUnsignedLongLong(words[i]);
		if (!word)
			Py_CLEAR(tuple);
		else
			PyTuple_SetItem(tuple, i, word);
	}
	return tuple;
}

/* Return (events, None), or ([event], call) for a call that was taken. */
static PyObject *outcome_of(const struct wait *wait, bool is_call)
{
	int first = is_call ? wait->next : 0, end = is_call ? first + 1 : wait->count;
	PyObject *events = PyList_New(0), *event, *call;

	for (int i = first; events && i < end; i++) {
		event = Py_BuildValue("(iI)", wait->events[i].data.fd, wait->events[i].events);
		if (!event || PyList_Append(events, event))
			Py_CLEAR(events);
		Py_XDECREF(event);
	}
	if (!events)
		return NULL;
	if (is_call) {
		call = tuple_of_words(wait->call);
	} else {
		Py_INCREF(Py_None);
		call = Py_None;
	}
	if (!call) {
		Py_DECREF(events);
		return NULL;
	}
	return Py_BuildValue("(NN)", events, call);
}

static int copy_listeners(struct quick *self)
{
	Py_ssize_t count = PyDict_Size(self->listeners), at = 0, i = 0;
	PyObject *key;

	if (count > self->count || !self->fds) {
		int *fds = realloc(self->fds, (count + 1) * sizeof(int));

		if (!fds) {
			PyErr_NoMemory();
			return -1;
		}
		self->fds = fds;
	}
	self->count = 0;
	while (i < count && PyDict_Next(self->listeners, &at, &key, NULL)) {
		long fd = PyLong_AsLong(key);

		if (fd == -1 && PyErr_Occurred())
			return -1;
		self->fds[i++] = (int)fd;
	}
	self->count = i;
	return 0;
}

static int state_from(struct quick *self, PyObject *const *args, struct state *state)
{
	int flags[5];

	for (int i = 0; i < 5; i++) {
		flags[i] = PyObject_IsTrue(args[i]);
		if (flags[i] < 0)
			return -1;
	}
	state->needs_all_calls = flags[0];
	state->has_spaces = flags[1];
	state->roots_differ = flags[2];
	state->has_visitors = flags[3];
	state->may_wait = flags[4];
	state->has_files = PyDict_Size(self->links);
	return 0;
}

static PyObject *wait_until_python(struct quick *self, struct wait *wait)
{
	enum outcome outcome;
	int known, error;

	for (;;) {
		Py_BEGIN_ALLOW_THREADS
		outcome = mapdev_serve(self, wait);
		error = errno;
		Py_END_ALLOW_THREADS
		switch (outcome) {
		case EVENTS:
			return outcome_of(wait, false);
		case CALL:
			return outcome_of(wait, true);
		case LINK:
			known = is_known(self, wait->link);
			if (known) {
				PyErr_Clear();	/* a call must not be lost, whatever is wrong */
				return outcome_of(wait, true);
			}
			if (mapdev_pass_on(wait))
				return PyErr_SetFromErrno(PyExc_OSError);
			wait->next++;
			break;
		case SIGNAL:
			if (PyErr_CheckSignals())
				return NULL;
			break;
		case FAILED:
			errno = error;
			return PyErr_SetFromErrno(PyExc_OSError);
		}
	}
}

static PyObject *quick_wait(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
	struct quick *self = (struct quick *)object;
	struct wait wait = { .due = INFINITY };
	PyObject *result;

	if (count != 6)
		return PyErr_Format(PyExc_TypeError, "wait takes 6 arguments");
	if (args[0] != Py_None) {
		wait.due = PyFloat_AsDouble(args[0]);
		if (wait.due == -1 && PyErr_Occurred())
			return NULL;
	}
	if (state_from(self, args + 1, &wait.state))
		return NULL;
	if (self->is_waiting)
		return PyErr_Format(PyExc_RuntimeError, "another thread waits already");
	if (self->gate)
		mapdev_gate_set_state(self->gate, &wait.state);
	if (copy_listeners(self))
		return NULL;
	self->is_waiting = true;
	result = wait_until_python(self, &wait);
	self->is_waiting = false;
	return result;
}

static PyObject *quick_use(PyObject *object, PyObject *gate)
{
	struct quick *self = (struct quick *)object;
	PyObject **types = PyType_GetModuleState(Py_TYPE(object));
	int fits = types ? PyObject_IsInstance(gate, types[1]) : 0;

	if (fits < 0)
		return NULL;
	if (!fits || self->gate)
		return PyErr_Format(PyExc_TypeError, "use takes a Gate, once");
	Py_INCREF(gate);
	self->gate = (struct gate *)gate;
	Py_RETURN_NONE;
}

static PyObject *quick_is_foreign(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
	struct quick *self = (struct quick *)object;
	struct seccomp_notif notification;
	char *bytes, link[LINK_SIZE + 1];
	uint64_t words[WORDS];
	struct state state;
	Py_ssize_t size;
	int known = 0;

	if (count != 6)
		return PyErr_Format(PyExc_TypeError, "is_foreign takes 6 arguments");
	if (PyBytes_AsStringAndSize(args[0], &bytes, &size) ||
	    state_from(self, args + 1, &state))
		return NULL;
	if (size != sizeof(notification))
		return PyErr_Format(PyExc_ValueError, "a notification has %zu bytes",
				    sizeof(notification));
	memcpy(&notification, bytes, size);
	mapdev_words_of(words, &notification);
	switch (mapdev_classify(&self->rules, &state, self->names, words, link)) {
	case PASS_ON:
		break;
	case HAND_OVER:
		known = 1;
		break;
	case LOOK_UP:
		known = is_known(self, link);
	}
	return known < 0 ? NULL : PyBool_FromLong(!known);
}

/* Take one (number, fd_at, path_at, bits_at, bits, lists). */
static int take_check(struct rules *rules, PyObject *item)
{
	unsigned int number, fd_at, path_at, bits_at;
	unsigned long long bits;
	PyObject *tuple = PySequence_Tuple(item);
	int lists, fine;

	fine = tuple && PyArg_ParseTuple(tuple, "IIIIKp", &number, &fd_at, &path_at, &bits_at,
					 &bits, &lists);

	Py_XDECREF(tuple);
	if (!fine)
		return -1;
	if (number >= SYSCALLS || fd_at >= WORDS || path_at >= WORDS || bits_at >= WORDS) {
		PyErr_Format(PyExc_ValueError, "no such number or field");
		return -1;
	}
	rules->checks[number] = (struct check){ fd_at, path_at, bits_at, lists, bits };
	return 0;
}

static int take_prefixes(struct rules *rules, PyObject *items)
{
	PyObject *tuple = PySequence_Tuple(items);
	Py_ssize_t count = tuple ? PyTuple_Size(tuple) : -1, size;
	char *text;

	for (Py_ssize_t i = 0; i < count; i++) {
		if (PyBytes_AsStringAndSize(PyTuple_GetItem(tuple, i), &text, &size)) {
			count = -1;
		} else if (i >= PREFIXES || !size || size >= PREFIX_SIZE) {
			PyErr_Format(PyExc_ValueError, "too many prefixes, or too long a one");
			count = -1;
		} else {
			memcpy(rules->prefixes[i], text, size);
		}
	}
	Py_XDECREF(tuple);
	return count < 0 ? -1 : 0;
}

static int take_checks(struct rules *rules, PyObject *items)
{
	PyObject *iterator = PyObject_GetIter(items), *item;
	int failed = 0;

	for (int i = 0; i < SYSCALLS; i++)	/* unknown: as if they were on a device */
		rules->checks[i] = (struct check){ .fd_at = ARCH, .bits_at = ZERO };
	if (!iterator)
		return -1;
	while (!failed && (item = PyIter_Next(iterator))) {
		failed = take_check(rules, item);
		Py_DECREF(item);
	}
	Py_DECREF(iterator);
	return failed || PyErr_Occurred() ? -1 : 0;
}

static int quick_traverse(PyObject *object, visitproc visit, void *arg)
{
	struct quick *self = (struct quick *)object;

	Py_VISIT(Py_TYPE(object));
	Py_VISIT(self->listeners);
	Py_VISIT(self->links);
	Py_VISIT((PyObject *)self->names);
	Py_VISIT((PyObject *)self->gate);
	return 0;
}

static void quick_dealloc(PyObject *object)
{
	struct quick *self = (struct quick *)object;
	PyTypeObject *type = Py_TYPE(object);

	PyObject_GC_UnTrack(object);
	Py_XDECREF(self->listeners);	/* no tp_clear: a cycle goes through a dict, which has one */
	Py_XDECREF(self->links);
	Py_XDECREF((PyObject *)self->names);
	Py_XDECREF((PyObject *)self->gate);
	free(self->fds);
	PyObject_GC_Del(object);
	Py_DECREF(type);
}

static PyObject *quick_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
	PyObject *module_names, *names_type, *listeners, *links, *checks, *prefixes;
	unsigned int base, arch, page_size;
	struct quick *self;
	int epoll, fits;

	if (keywords && PyDict_Size(keywords))
		return PyErr_Format(PyExc_TypeError, "Quick takes no keywords");
	if (!PyArg_ParseTuple(args, "iOOOOOIII:Quick", &epoll, &listeners, &links, &module_names,
			      &checks, &prefixes, &base, &arch, &page_size))
		return NULL;
	names_type = PyType_GetModuleState(type) ? *(PyObject **)PyType_GetModuleState(type) : NULL;
	if (!names_type)
		return PyErr_Format(PyExc_SystemError, "the module is gone");
	fits = PyObject_IsInstance(module_names, names_type);
	if (fits < 0)
		return NULL;
	if (!fits || !PyDict_Check(listeners) || !PyDict_Check(links))
		return PyErr_Format(PyExc_TypeError, "Quick takes an epoll descriptor, listeners and "
				    "links as dicts, Names, checks, prefixes, three numbers");
	if (!page_size)
		return PyErr_Format(PyExc_ValueError, "a page has no size");
	self = (struct quick *)PyType_GenericAlloc(type, 0);
	if (!self)
		return NULL;
	Py_INCREF(listeners);
	Py_INCREF(links);
	Py_INCREF(module_names);
	self->epoll = epoll;
	self->listeners = listeners;
	self->links = links;
	self->names = (struct names *)module_names;
	self->rules.base = base;
	self->rules.arch = arch;
	self->rules.page_size = page_size;
	if (take_checks(&self->rules, checks) || take_prefixes(&self->rules, prefixes)) {
		Py_DECREF((PyObject *)self);
		return NULL;
	}
	return (PyObject *)self;
}

static PyMethodDef methods[] = {
	{ "wait", (PyCFunction)(void (*)(void))quick_wait, METH_FASTCALL,
	  "wait(due, needs_all_calls, has_spaces, roots_differ, has_visitors, may_wait): wait for anything but calls that\n"
	  "concern no device; give (events, None), or ([event], call) for a call that was taken." },
	{ "use", quick_use, METH_O, "use(gate): redirect calls of clients to it." },
	{ "is_foreign", (PyCFunction)(void (*)(void))quick_is_foreign, METH_FASTCALL,
	  "is_foreign(notification, needs_all_calls, ...): say whether a call would be passed on." },
	{ 0 },
};

static PyType_Slot slots[] = {
	{ Py_tp_new, quick_new },
	{ Py_tp_traverse, quick_traverse },
	{ Py_tp_dealloc, quick_dealloc },
	{ Py_tp_methods, methods },
	{ Py_tp_doc, "Quick(epoll, listeners, links, names, checks, prefixes, base, arch, page_size):\n"
		     "waits for calls, and passes on those that concern no device." },
	{ 0, NULL },
};

PyType_Spec mapdev_quick_spec = {
	.name = "mapdev._native.Quick",
	.basicsize = sizeof(struct quick),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
	.slots = slots,
};
