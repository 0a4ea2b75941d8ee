// SPDX-License-Identifier: MIT
/* The module mapdev._native: see native.h. */
#include "native.h"
#include "redirect.h"

struct module {
	PyObject *names_type;	/* first: quick.c and table.c find it there */
	PyObject *gate_type;	/* second: quick.c finds it there */
};

static PyMethodDef functions[] = {
	{ "read_memory", mapdev_read_memory, METH_VARARGS,
	  "read_memory(pid, addr, size): process_vm_readv(2)." },
	{ "write_memory", mapdev_write_memory, METH_VARARGS,
	  "write_memory(pid, addr, data): process_vm_writev(2)." },
	{ "ptrace", mapdev_ptrace, METH_VARARGS, "ptrace(request, tid, addr=0, data=0): ptrace(2)." },
	{ "pidfd_getfd", mapdev_pidfd_getfd, METH_VARARGS,
	  "pidfd_getfd(pidfd, fd): pidfd_getfd(2)." },
	{ "link_of", mapdev_link_of, METH_VARARGS, "link_of(tid, fd): readlink of /proc/TID/fd/FD." },
	{ "respond", mapdev_respond, METH_VARARGS,
	  "respond(listener, id, value, error, flags): SECCOMP_IOCTL_NOTIF_SEND." },
	{ 0 },
};

static int add_type(PyObject *module, PyType_Spec *spec, PyObject **keep)
{
	PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);

	if (!type || PyModule_AddType(module, (PyTypeObject *)type)) {
		Py_XDECREF(type);
		return -1;
	}
	if (keep)
		*keep = type;
	else
		Py_DECREF(type);
	return 0;
}

static int execute(PyObject *module)
{
	struct module *state = PyModule_GetState(module);

	if (add_type(module, &mapdev_names_spec, &state->names_type) ||
	    add_type(module, &mapdev_gate_spec, &state->gate_type) ||
	    add_type(module, &mapdev_quick_spec, NULL))
		return -1;
	return PyModule_AddIntConstant(module, "VERSION", MAPDEV_NATIVE_VERSION);
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
	struct module *state = PyModule_GetState(module);

	Py_VISIT(state->names_type);
	Py_VISIT(state->gate_type);
	return 0;
}

static int clear(PyObject *module)
{
	struct module *state = PyModule_GetState(module);

	Py_CLEAR(state->names_type);
	Py_CLEAR(state->gate_type);
	return 0;
}

static PyModuleDef_Slot slots[] = {
	{ Py_mod_exec, execute },
	{ 0, NULL },
};

static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT,
	.m_name = "mapdev._native",
	.m_doc = "The embedded host's fast path and hot system calls; see native/native.h.",
	.m_size = sizeof(struct module),
	.m_methods = functions,
	.m_slots = slots,
	.m_traverse = traverse,
	.m_clear = clear,
};

PyMODINIT_FUNC PyInit__native(void)
{
	return PyModuleDef_Init(&definition);
}
