// SPDX-License-Identifier: MIT
/*
 * Names: two sets of names by which a path may lead to something of the host's; see Overlay.
 *
 * A thread of the host's may add a device while the host's thread compares paths without the GIL.
 * So the sets are changed under a lock that the comparing side takes for reading.
 */
#include "native.h"
#include "gate.h"

#include <stdlib.h>
#include <string.h>

static struct name **bucket_of(struct set *set, const char *text, size_t size)
{
	uint32_t hash = 2166136261u;	/* FNV-1a */

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ (uint8_t)text[i]) * 16777619u;
	return &set->buckets[hash % BUCKETS];
}

/* Return the place that points to a name, or that is to point to it. */
static struct name **find(struct set *set, const char *text, size_t size)
{
	struct name **at = bucket_of(set, text, size);

	while (*at && ((*at)->size != size || memcmp((*at)->text, text, size)))
		at = &(*at)->next;
	return at;
}

/* Say whether any name in a path is one of `ours`. Called without the GIL. */
bool mapdev_names_any(struct names *names, const char *path, size_t size)
{
	const char *end = path + size, *slash;
	bool found;

	pthread_rwlock_rdlock(&names->lock);
	do {
		slash = memchr(path, '/', end - path);
		if (!slash)
			slash = end;
		found = *find(&names->ours, path, slash - path);
		path = slash + 1;
	} while (!found && slash < end);
	pthread_rwlock_unlock(&names->lock);
	return found;
}

/* Say whether a name is that of a directory that exists and has names of ours. Without the GIL. */
bool mapdev_names_is_merged(struct names *names, const char *name, size_t size)
{
	bool found;

	pthread_rwlock_rdlock(&names->lock);
	found = *find(&names->merged, name, size);
	pthread_rwlock_unlock(&names->lock);
	return found;
}

static void mark(uint64_t *bits, uint32_t size, const struct name *name)
{
	uint32_t hash = 0;

	for (size_t i = 0; i < name->size; i++)
		hash = gate_hash(hash, (uint8_t)name->text[i]);
	hash = gate_bit(hash) % size;
	__atomic_or_fetch(&bits[hash / 64], 1ul << hash % 64, __ATOMIC_RELAXED);
}

/* Show clients a set; at no moment a name that stays is missing. Under the lock. */
static void show_set(const struct set *set, uint64_t *bits, uint32_t size)
{
	static const uint64_t nothing[GATE_OURS / 64];
	uint64_t new[GATE_OURS / 64];

	memcpy(new, nothing, size / 8);
	for (int i = 0; i < BUCKETS; i++)
		for (const struct name *name = set->buckets[i]; name; name = name->next)
			mark(new, size, name);
	for (uint32_t i = 0; i < size / 64; i++)
		__atomic_store_n(&bits[i], new[i], __ATOMIC_RELAXED);
}

static void show(struct names *names, bool is_merged)
{
	if (!names->table)
		return;
	if (is_merged)
		show_set(&names->merged, names->table->merged, GATE_MERGED);
	else
		show_set(&names->ours, names->table->ours, GATE_OURS);
}

/* Show clients the names in the gate's table from now on; NULL: no longer. */
void mapdev_names_show(struct names *names, struct gate_table *table)
{
	pthread_rwlock_wrlock(&names->lock);
	names->table = table;
	if (table)
		table->is_careful = names->is_careful;
	show(names, false);
	show(names, true);
	pthread_rwlock_unlock(&names->lock);
}

static PyObject *names_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
	struct names *self;

	if (PyTuple_Size(args) || (keywords && PyDict_Size(keywords)))
		return PyErr_Format(PyExc_TypeError, "Names takes no arguments");
	self = (struct names *)PyType_GenericAlloc(type, 0);
	if (self)
		pthread_rwlock_init(&self->lock, NULL);
	return (PyObject *)self;
}

static void set_free(struct set *set)
{
	for (int i = 0; i < BUCKETS; i++) {
		struct name *name = set->buckets[i], *next;

		for (; name; name = next) {
			next = name->next;
			free(name);
		}
	}
}

static void names_dealloc(PyObject *object)
{
	struct names *self = (struct names *)object;
	PyTypeObject *type = Py_TYPE(object);

	set_free(&self->ours);
	set_free(&self->merged);
	pthread_rwlock_destroy(&self->lock);
	PyObject_Free(object);
	Py_DECREF(type);
}

/* Add a name, which is known already or not, or discard it. */
static PyObject *change(PyObject *object, PyObject *args, bool is_new)
{
	struct names *self = (struct names *)object;
	struct name *spare = NULL, **at;
	const char *text;
	Py_ssize_t size;
	int is_merged, is_twice = 0;

	if (!PyArg_ParseTuple(args, "y#p|p", &text, &size, &is_merged, &is_twice))
		return NULL;
	if (is_new) {
		spare = malloc(sizeof(*spare) + size);
		if (!spare)
			return PyErr_NoMemory();
		spare->next = NULL;
		spare->size = size;
		memcpy(spare->text, text, size);
	}
	Py_BEGIN_ALLOW_THREADS
	pthread_rwlock_wrlock(&self->lock);
	at = find(is_merged ? &self->merged : &self->ours, text, size);
	self->is_careful |= is_twice;
	if (self->table)
		self->table->is_careful = self->is_careful;
	if (is_new && !*at) {
		*at = spare;
		if (self->table && is_merged)
			mark(self->table->merged, GATE_MERGED, spare);
		else if (self->table)
			mark(self->table->ours, GATE_OURS, spare);
		spare = NULL;
	} else if (!is_new && *at) {
		spare = *at;
		*at = spare->next;
		show(self, is_merged);
	}
	pthread_rwlock_unlock(&self->lock);
	Py_END_ALLOW_THREADS
	free(spare);
	Py_RETURN_NONE;
}

static PyObject *names_add(PyObject *object, PyObject *args)
{
	return change(object, args, true);
}

static PyObject *names_discard(PyObject *object, PyObject *args)
{
	return change(object, args, false);
}

static PyMethodDef methods[] = {
	{ "add", names_add, METH_VARARGS, "add(name, is_merged, is_twice=False): add to one of the two sets; is_twice: it hides one that\n"
	  "exists for real." },
	{ "discard", names_discard, METH_VARARGS, "discard(name, is_merged): remove from it." },
	{ 0 },
};

static PyType_Slot slots[] = {
	{ Py_tp_new, names_new },
	{ Py_tp_dealloc, names_dealloc },
	{ Py_tp_methods, methods },
	{ Py_tp_doc, "Names by which a path may lead to something of the host's." },
	{ 0, NULL },
};

PyType_Spec mapdev_names_spec = {
	.name = "mapdev._native.Names",
	.basicsize = sizeof(struct names),
	.flags = Py_TPFLAGS_DEFAULT,
	.slots = slots,
};
