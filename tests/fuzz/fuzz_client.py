"""What the fuzzer drives: a program that makes the calls it is told, one JSON list a line.

Answers are JSON too: a result, or the name of an errno or of a signal. Runs without mapdev.
"""

import ctypes
import errno
import json
import os
import signal
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.mmap.restype = libc.mremap.restype = ctypes.c_long


def call(name, *args):
    ctypes.set_errno(0)
    result = getattr(libc, name)(*(ctypes.c_ulong(arg) for arg in args))
    return result if result >= 0 else errno.errorcode[ctypes.get_errno()]


def in_child(work):
    """Run `work` in a child; return its result of up to 255, or the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        os._exit(work())
    status = os.waitpid(pid, 0)[1]
    return (
        signal.Signals(status).name if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)
    )


def attempt(work, *args):
    try:
        result = work(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
    return result.hex() if isinstance(result, bytes) else result


def store(addr, byte):
    ctypes.memset(addr, byte, 1)
    return 0


def maps():
    with open("/proc/self/maps") as lines:
        return [line for line in lines if "/dev/" in line]


OPERATIONS = {
    "open": lambda path: attempt(os.open, path, os.O_RDWR),
    "close": lambda fd: attempt(os.close, fd),
    "dup": lambda fd: attempt(os.dup, fd),
    "pread": lambda fd, count, pos: attempt(os.pread, fd, count, pos),
    "pwrite": lambda fd, data, pos: attempt(os.pwrite, fd, bytes.fromhex(data), pos),
    "lseek": lambda fd, pos, whence: attempt(os.lseek, fd, pos, whence),
    "load": lambda addr: ctypes.string_at(addr, 1)[0],
    "store": store,
    "try load": lambda addr: in_child(lambda: ctypes.string_at(addr, 1)[0]),
    "try store": lambda addr: in_child(lambda: store(addr, 0)),
    "maps": maps,
}

for line in sys.stdin:
    name, *args = json.loads(line)
    operation = OPERATIONS.get(name)
    print(json.dumps(operation(*args) if operation else call(name, *args)), flush=True)
