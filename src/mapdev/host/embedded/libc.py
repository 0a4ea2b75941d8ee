"""Wraps system calls for which Python has no function; decides nothing.

By ctypes, and those that are made at most calls of clients by the C extension, if it is in use.
Each function raises `OSError` with the errno of the call. The structures are the kernel's. All
that is kept is a pair of buffers for each thread.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import threading
from typing import Any, NamedTuple

from mapdev.host.embedded.arch import NUMBER_OF
from mapdev.host.embedded.native import NATIVE
from mapdev.host.numbers import AT_EMPTY_PATH, AT_FDCWD, AT_STATX_DONT_SYNC, CLONE_FILES
from mapdev.linux.numbers import PAGE_SIZE

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_ulong, ctypes.c_ulong]
_libc.ptrace.restype = ctypes.c_long
_libc.syscall.restype = ctypes.c_long
for _name in ("process_vm_readv", "process_vm_writev"):
    _function = getattr(_libc, _name)
    _function.restype = ctypes.c_ssize_t
    _function.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong,
        ctypes.c_ulong,
    ]  # fmt: skip

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37

SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 1 << 5
_KCMP_VM = 1


def _error(what: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{what}: {os.strerror(code)}")


def prctl(option: int, argument: int = 0) -> int:
    """prctl(2) with one argument."""
    result: int = _libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0)
    if result < 0:
        raise _error("prctl")
    return result


def unshare_files() -> None:
    """Give the calling thread a table of descriptors of its own (unshare(2), CLONE_FILES)."""
    if _libc.unshare(CLONE_FILES) < 0:
        raise _error("unshare")


def close_range(first: int, last: int) -> None:
    """close_range(2), without flags."""
    number = ctypes.c_long(NUMBER_OF["close_range"])
    if _libc.syscall(number, ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(0)) < 0:
        raise _error("close_range")


def get_child_subreaper() -> int:
    """Return whether this process takes in orphaned descendants (prctl(2))."""
    value = ctypes.c_int()
    if _libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(value), 0, 0, 0) < 0:
        raise _error("prctl")
    return value.value


class _SockFprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def move_pages(pid: int, addr: int) -> int:
    """Return the node of the page at `addr` of process `pid`, or a negative errno.

    ENOENT it is not there, EFAULT there is no area, or one without pages.
    """
    page, status = ctypes.c_void_p(addr), ctypes.c_int(-errno.EFAULT)
    result: int = _libc.syscall(
        ctypes.c_long(NUMBER_OF["move_pages"]), ctypes.c_long(pid), ctypes.c_ulong(1),
        ctypes.byref(page), None, ctypes.byref(status), ctypes.c_long(0),
    )  # fmt: skip
    return status.value if result >= 0 else -ctypes.get_errno()


def shares_memory(pid: int, other: int) -> bool:
    """Say whether two processes have one address space, as far as we may know (kcmp)."""
    result: int = _libc.syscall(
        ctypes.c_long(NUMBER_OF["kcmp"]), ctypes.c_long(pid), ctypes.c_long(other),
        ctypes.c_long(_KCMP_VM), ctypes.c_long(0), ctypes.c_long(0),
    )  # fmt: skip
    return result == 0


def seccomp_filter(program: bytes, flags: int) -> int:
    """Install a BPF `program` for this thread; return the listener's descriptor if one is asked."""
    fprog = _SockFprog(len(program) // 8, program)
    result: int = _libc.syscall(
        ctypes.c_long(NUMBER_OF["seccomp"]),
        ctypes.c_ulong(SECCOMP_SET_MODE_FILTER),
        ctypes.c_ulong(flags),
        ctypes.byref(fprog),
    )
    if result < 0:
        raise _error("seccomp")
    return result


def _ptrace(request: int, tid: int, addr: int = 0, data: int = 0) -> int:
    """ptrace(2)."""
    result: int = _libc.ptrace(request, tid, addr, data)
    if result < 0:
        raise _error("ptrace")
    return result


def _pidfd_getfd(pidfd: int, fd: int) -> int:
    """Return a copy of descriptor `fd` of the process of `pidfd` (pidfd_getfd(2))."""
    result: int = _libc.syscall(
        ctypes.c_long(NUMBER_OF["pidfd_getfd"]), ctypes.c_int(pidfd), ctypes.c_int(fd),
        ctypes.c_uint(0),
    )  # fmt: skip
    if result < 0:
        raise _error("pidfd_getfd")
    return result


def _link_of(tid: int, fd: int) -> str:
    """Return what /proc shows of descriptor `fd` of thread `tid` (readlink(2))."""
    return os.readlink(f"/proc/{tid}/fd/{fd}")


link_of = _link_of if NATIVE is None else NATIVE.link_of
ptrace = _ptrace if NATIVE is None else NATIVE.ptrace
pidfd_getfd = _pidfd_getfd if NATIVE is None else NATIVE.pidfd_getfd


def userfaultfd(flags: int) -> int:
    """Return a new userfaultfd(2) of this process."""
    fd = _libc.syscall(ctypes.c_long(NUMBER_OF["userfaultfd"]), ctypes.c_int(flags))
    if fd < 0:
        raise _error("userfaultfd")
    return int(fd)


def openat2(directory: int, path: bytes, flags: int, resolve: int) -> int:
    """openat2(2); return the descriptor."""
    how = struct.pack("<3Q", flags, 0, resolve)
    result: int = _libc.syscall(
        ctypes.c_long(NUMBER_OF["openat2"]), ctypes.c_int(directory), path, how,
        ctypes.c_size_t(len(how)),
    )  # fmt: skip
    if result < 0:
        raise _error("openat2")
    return result


_STATX = struct.Struct("<28xH2xQ88x4I112x")  # ``struct statx``
_STATX_BASIC_STATS = 0x7FF


class FileStatus(NamedTuple):
    """Those fields of `os.stat_result` that stay the same while a file lives."""

    st_mode: int
    st_ino: int
    st_rdev: int
    st_dev: int


def file_status(path: str | int) -> FileStatus:
    """Return what the kernel itself knows of a file, links followed (statx(2)).

    Who serves its file system, which may be a program or another machine, is not asked. But that is
    for the file alone: the names on the way to it are to be ones like /proc/PID/fd.

    :param path: or a descriptor.
    """
    name, at, flags = (
        (b"", path, AT_EMPTY_PATH) if isinstance(path, int) else (os.fsencode(path), AT_FDCWD, 0)
    )
    buffer = ctypes.create_string_buffer(_STATX.size)
    flags |= AT_STATX_DONT_SYNC
    if _libc.statx(at, name, flags, _STATX_BASIC_STATS, buffer) < 0:
        raise _error("statx")
    mode, inode, rdev_major, rdev_minor, major, minor = _STATX.unpack(buffer.raw)
    return FileStatus(mode, inode, os.makedev(rdev_major, rdev_minor), os.makedev(major, minor))


# --- another process's memory ------------------------------------------------------------------

_IOVEC = struct.Struct("<QQ")
_IOVECS = struct.Struct("<4Q")  # ours and theirs
_SMALL = 16384  # bytes that are copied once more rather than looked up where they are
_LARGE = 1 << 26  # bytes that are not allocated before it is known that they are there


_libc_plain = ctypes.CDLL(None)  # by which errno is not kept, nor arguments checked: faster
_new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytes.restype = ctypes.py_object
_new_bytes.argtypes = [ctypes.c_char_p, ctypes.c_ssize_t]


class _Staging(threading.local):
    """Buffers of one thread, and what points to them for process_vm_readv: kept, since nearly every
    request needs them. Several hosts may have a thread each."""

    def __init__(self) -> None:
        self.buffer = bytearray(_SMALL)
        self.iovecs = bytearray(_IOVECS.size)
        ours = _address(self.iovecs)
        # A look into a threading.local takes long: so there is one for all.
        self.all = (memoryview(self.buffer), _address(self.buffer), self.iovecs,
                    ctypes.c_void_p(ours), ctypes.c_void_p(ours + _IOVECS.size // 2))  # fmt: skip


def _address(buffer: Any) -> int:
    """Return the address of a buffer that may be written."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def _address_of_bytes(data: bytes) -> int:
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


_staging = _Staging()


def read_memory(pid: int, addr: int, size: int) -> bytes:
    """Read up to `size` bytes at `addr` of process `pid`; fewer when its mapping ends there.

    :raises OSError: EFAULT nothing is mapped there, ESRCH no such process, EPERM not allowed to.
    """
    if size > _LARGE:
        return _read_large(pid, addr, size)
    return _read_piece(pid, addr, size)


def _read_by_ctypes(pid: int, addr: int, size: int) -> bytes:
    view, address, iovecs, ours, theirs = _staging.all
    if size > _SMALL:
        # Read straight into what is returned, which nobody else has seen yet: no copy.
        large: bytes = _new_bytes(None, size)
        address = _address_of_bytes(large)
    try:
        _IOVECS.pack_into(iovecs, 0, address, size, addr, size)
    except struct.error:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT)) from None
    count = _libc_plain.process_vm_readv(pid, ours, 1, theirs, 1, 0)
    if count < 0 or count > size:  # which is an int: a large count needs the right type
        count = _libc.process_vm_readv(pid, ours, 1, theirs, 1, 0)
        if count < 0:
            raise _error("process_vm_readv")
    if size <= _SMALL:
        return bytes(view[:count])
    return large if count == size else large[:count]


_read_piece = _read_by_ctypes if NATIVE is None else NATIVE.read_memory


def _read_large(pid: int, addr: int, size: int) -> bytes:
    """Do what `read_memory` does, piece by piece: a program may ask for more than it has."""
    pieces = [read_memory(pid, addr, _LARGE)]
    while len(pieces[-1]) == _LARGE and (done := len(pieces) * _LARGE) < size:
        try:
            pieces.append(read_memory(pid, addr + done, min(size - done, _LARGE)))
        except OSError as error:
            if error.errno != errno.EFAULT:
                raise
            break
    return b"".join(pieces)


def write_memory(pid: int, addr: int, data: Any) -> int:
    """Write `data` at `addr` of process `pid`; return how many bytes fitted.

    :raises OSError: EFAULT nothing is writable there, ESRCH no such process, EPERM not allowed to.
    """
    # Straight from a driver's memory it would often be slower: from a page's start to 16 bytes
    # after one, as malloc gives them, the processor takes loads for such as depend on stores.
    return _write(pid, addr, data if type(data) is bytes else bytes(data))


def _write_by_ctypes(pid: int, addr: int, data: bytes) -> int:
    view, address, iovecs, ours, theirs = _staging.all
    size = len(data)
    if size <= _SMALL:
        view[:size] = data
    else:
        address = _address_of_bytes(data)
    try:
        _IOVECS.pack_into(iovecs, 0, address, size, addr, size)
    except struct.error:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT)) from None
    count: int = _libc_plain.process_vm_writev(pid, ours, 1, theirs, 1, 0)
    if count < 0 or count > size:
        count = _libc.process_vm_writev(pid, ours, 1, theirs, 1, 0)
        if count < 0:
            raise _error("process_vm_writev")
    return count


_write = _write_by_ctypes if NATIVE is None else NATIVE.write_memory

_PATH_PIECE = 256


class PathReader:
    """Reads short strings of other processes, the cheapest way that there is; for one thread."""

    def __init__(self) -> None:
        self._buffer = bytearray(_PATH_PIECE)
        self._iovecs = bytearray(_IOVECS.size)
        _IOVEC.pack_into(self._iovecs, 0, _address(self._buffer), _PATH_PIECE)
        ours = _address(self._iovecs)
        self._ours, self._theirs = ctypes.c_void_p(ours), ctypes.c_void_p(ours + _IOVEC.size)

    def read(self, pid: int, addr: int) -> bytes | None:
        """Return the string at `addr` of process `pid`, None if it is long or can't be read."""
        size = min(_PATH_PIECE, PAGE_SIZE - addr % PAGE_SIZE)
        _IOVEC.pack_into(self._iovecs, _IOVEC.size, addr, size)
        count = _libc_plain.process_vm_readv(pid, self._ours, 1, self._theirs, 1, 0)
        end = self._buffer.find(0, 0, count) if count > 0 else -1
        return None if end < 0 else bytes(self._buffer[:end])


_link_target = ctypes.create_string_buffer(1)


def is_symbolic_link(path: bytes) -> bool:
    """Say whether `path` is a symbolic link, as readlink(2) does, without an exception if not."""
    return bool(_libc_plain.readlink(path, _link_target, 1) >= 0)


_STATFS_SIZE = 120

# --- directories --------------------------------------------------------------------------------


def getdents64(fd: int, size: int) -> bytes:
    """Return the next records of a directory, `size` bytes at most; none at its end.

    :raises OSError: EINVAL not even one record fits in.
    """
    buffer = ctypes.create_string_buffer(size)
    count: int = _libc.syscall(ctypes.c_long(NUMBER_OF["getdents64"]), fd, buffer, size)
    if count < 0:
        raise _error("getdents64")
    return buffer.raw[:count]


def statfs(path: str) -> bytes:
    """Return the ``struct statfs`` of the file system that `path` is on (statfs(2))."""
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    number = ctypes.c_long(NUMBER_OF["statfs"])
    if _libc.syscall(number, ctypes.c_char_p(os.fsencode(path)), buffer) < 0:
        raise _error("statfs")
    return buffer.raw


# --- another process's descriptors ---------------------------------------------------------------

_PIDFD_THREAD = os.O_EXCL  # of pidfd_open, Linux 6.9: for a thread that leads no process


def fetch_descriptor(tid: int, fd: int) -> int:
    """Return a descriptor of ours for what `fd` is in thread `tid` (pidfd_getfd(2)).

    :raises OSError: ESRCH no such thread, EBADF no such descriptor, EINVAL the thread leads no
        process and the kernel is too old, EPERM not allowed to.
    """
    try:
        pidfd = os.pidfd_open(tid)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
        pidfd = os.pidfd_open(tid, _PIDFD_THREAD)
    try:
        return pidfd_getfd(pidfd, fd)
    finally:
        os.close(pidfd)


# --- files -------------------------------------------------------------------------------------

_FLOCK = struct.Struct("hhqqi4x")
IN_CLOSE = 0x8 | 0x10


def lock_byte(fd: int, offset: int, writable: bool) -> None:
    """Take the lock of the byte at `offset` for the open file description of `fd` (F_OFD_SETLK).

    The kernel drops it when the last descriptor *and the last mapping* of the description is gone.
    """
    kind = fcntl.F_WRLCK if writable else fcntl.F_RDLCK
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, offset, 1, 0))


def byte_is_locked(fd: int, offset: int) -> bool:
    """Say whether another open file description than that of `fd` holds the lock at `offset`."""
    lock = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0)
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, lock)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def inotify_of(path: str, mask: int) -> int:
    """Return the descriptor of a new, non-blocking inotify instance that watches `path`."""
    fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        raise _error("inotify_init1")
    if _libc.inotify_add_watch(fd, path.encode(), mask) < 0:
        error = _error("inotify_add_watch")
        os.close(fd)
        raise error
    return fd


def inotify_add_watch(fd: int, path: str, mask: int) -> int:
    """Have an inotify instance watch `path`; return the watch's number."""
    number: int = _libc.inotify_add_watch(fd, path.encode(), ctypes.c_uint32(mask))
    if number < 0:
        raise _error("inotify_add_watch")
    return number


_SIGNALFD_INFO = 128  # bytes; ssi_signo at 0, ssi_code at 8


def signalfd(signals: set[int]) -> int:
    """Return a descriptor from which blocked `signals` can be read (signalfd(2))."""
    mask = sum(1 << (number - 1) for number in signals)
    raw = ctypes.create_string_buffer(mask.to_bytes(8, "little").ljust(128, b"\0"), 128)
    fd: int = _libc.signalfd(-1, raw, os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0:
        raise _error("signalfd")
    return fd


def read_signal(fd: int) -> tuple[int, bool]:
    """Return the next signal of a `signalfd` and whether a terminal (the kernel) sent it."""
    number, _, code = struct.unpack_from("<Iii", os.read(fd, _SIGNALFD_INFO))
    return number, code > 0
