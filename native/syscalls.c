// SPDX-License-Identifier: MIT
/*
 * The system calls by which the host reaches into clients: one wrapper each, nothing decided.
 *
 * Arguments and errors are those of the functions in libc.py, which these stand in for.
 */
#include "native.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SMALL 16384	/* bytes that are read into the stack: most of them are much fewer */

static PyObject *failure(const char *what, int error)
{
	PyObject *arguments = Py_BuildValue("(iN)", error,
					    PyUnicode_FromFormat("%s: %s", what, strerror(error)));

	if (arguments) {
		PyErr_SetObject(PyExc_OSError, arguments);
		Py_DECREF(arguments);
	}
	return NULL;
}

static PyObject *bad_address(void)
{
	errno = EFAULT;
	return PyErr_SetFromErrno(PyExc_OSError);
}

/* Take an address: 0 or -1 with an exception, EFAULT for a number that can be none. */
static int address_from(PyObject *number, uint64_t *addr)
{
	*addr = PyLong_AsUnsignedLongLong(number);
	if (*addr != UINT64_MAX || !PyErr_Occurred())
		return 0;
	if (PyErr_ExceptionMatches(PyExc_OverflowError)) {
		PyErr_Clear();
		bad_address();
	}
	return -1;
}

PyObject *mapdev_read_memory(PyObject *module, PyObject *args)
{
	struct iovec ours, theirs;
	PyObject *number, *large = NULL, *part;
	char small[SMALL];
	Py_ssize_t size;
	ssize_t count;
	uint64_t addr;
	int pid, error;

	(void)module;
	if (!PyArg_ParseTuple(args, "iOn:read_memory", &pid, &number, &size) ||
	    address_from(number, &addr))
		return NULL;
	if (size < 0)
		return bad_address();
	ours = (struct iovec){ small, size };
	theirs = (struct iovec){ (void *)(uintptr_t)addr, size };
	if (size > SMALL) {
		/* Straight into what is returned, which nobody else has seen yet: no copy. */
		large = PyBytes_FromStringAndSize(NULL, size);
		if (!large)
			return NULL;
		ours.iov_base = PyBytes_AsString(large);
	}
	Py_BEGIN_ALLOW_THREADS	/* it may be a page that another thread of this process brings */
	count = process_vm_readv(pid, &ours, 1, &theirs, 1, 0);
	error = errno;
	Py_END_ALLOW_THREADS
	if (count < 0) {
		Py_XDECREF(large);
		return failure("process_vm_readv", error);
	}
	if (!large)
		return PyBytes_FromStringAndSize(small, count);
	if (count == size)
		return large;
	part = PyBytes_FromStringAndSize(PyBytes_AsString(large), count);
	Py_DECREF(large);
	return part;
}

PyObject *mapdev_write_memory(PyObject *module, PyObject *args)
{
	struct iovec ours, theirs;
	PyObject *number;
	Py_buffer data;
	ssize_t count;
	uint64_t addr;
	int pid, error;

	(void)module;
	if (!PyArg_ParseTuple(args, "iOy*:write_memory", &pid, &number, &data))
		return NULL;
	if (address_from(number, &addr)) {
		PyBuffer_Release(&data);
		return NULL;
	}
	ours = (struct iovec){ data.buf, data.len };
	theirs = (struct iovec){ (void *)(uintptr_t)addr, data.len };
	Py_BEGIN_ALLOW_THREADS
	count = process_vm_writev(pid, &ours, 1, &theirs, 1, 0);
	error = errno;
	Py_END_ALLOW_THREADS
	PyBuffer_Release(&data);
	return count < 0 ? failure("process_vm_writev", error) : PyLong_FromSsize_t(count);
}

#ifdef __GLIBC__
typedef enum __ptrace_request request_type;
#else
typedef int request_type;
#endif

/* The GIL is kept: no request waits for another thread. */
PyObject *mapdev_ptrace(PyObject *module, PyObject *args)
{
	unsigned long addr = 0, data = 0;
	long request, result;
	int tid;

	(void)module;
	if (!PyArg_ParseTuple(args, "li|kk:ptrace", &request, &tid, &addr, &data))
		return NULL;
	result = ptrace((request_type)request, tid, addr, data);
	return result < 0 ? failure("ptrace", errno) : PyLong_FromLong(result);
}

PyObject *mapdev_pidfd_getfd(PyObject *module, PyObject *args)
{
	int pidfd, fd, error;
	long number;

	(void)module;
	if (!PyArg_ParseTuple(args, "ii:pidfd_getfd", &pidfd, &fd))
		return NULL;
	Py_BEGIN_ALLOW_THREADS	/* it waits for an exec of that process */
	number = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	error = errno;
	Py_END_ALLOW_THREADS
	return number < 0 ? failure("pidfd_getfd", error) : PyLong_FromLong(number);
}

/* What /proc shows of a descriptor of a client. */
PyObject *mapdev_link_of(PyObject *module, PyObject *args)
{
	char path[64], link[PATH_MAX];
	ssize_t size;
	unsigned int fd;	/* a register's: any number */
	int tid;

	(void)module;
	if (!PyArg_ParseTuple(args, "iI:link_of", &tid, &fd))
		return NULL;
	snprintf(path, sizeof(path), "/proc/%d/fd/%u", tid, fd);
	Py_BEGIN_ALLOW_THREADS
	size = readlink(path, link, sizeof(link));
	Py_END_ALLOW_THREADS
	if (size < 0)
		return PyErr_SetFromErrno(PyExc_OSError);
	return PyUnicode_DecodeFSDefaultAndSize(link, size);
}

/* Answer a call: False if nobody waits for it any more. */
PyObject *mapdev_respond(PyObject *module, PyObject *args)
{
	struct seccomp_notif_resp response = { 0 };
	unsigned long long id;
	long long value;
	int fd, failed;

	(void)module;
	if (!PyArg_ParseTuple(args, "iKLiI:respond", &fd, &id, &value, &response.error,
			      &response.flags))
		return NULL;
	response.id = id;
	response.val = value;
	Py_BEGIN_ALLOW_THREADS
	failed = ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &response);
	Py_END_ALLOW_THREADS
	if (failed && errno != ENOENT && errno != EINPROGRESS)
		return PyErr_SetFromErrno(PyExc_OSError);
	return PyBool_FromLong(!failed);
}
