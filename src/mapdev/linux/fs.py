"""Open files and device nodes: ``struct file``, ``struct inode`` and the helpers for seeking.

Plain mutable objects that the host makes: a `File` for each open, which lives until its last
descriptor and its last mapping are gone, and an `Inode` for each node. The helpers change nothing
but the file they are given.
"""
# ruff: noqa: N802 - kernel names keep the kernel's spelling

import errno
from collections.abc import Hashable
from typing import Any

from mapdev.linux.context import as_bytes, context
from mapdev.linux.numbers import SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET

__all__ = [
    "FMODE_ATOMIC_POS", "FMODE_CAN_READ", "FMODE_CAN_WRITE", "FMODE_EXEC", "FMODE_LSEEK",
    "FMODE_PREAD", "FMODE_PWRITE", "FMODE_READ", "FMODE_STREAM", "FMODE_WRITE", "MAJOR", "MINOR",
    "MKDEV", "AddressSpace", "File", "FownStruct", "Inode", "anon_inode_getfd", "default_llseek",
    "fget", "file_inode", "fixed_size_llseek", "imajor", "iminor", "no_llseek", "nonseekable_open",
    "noop_llseek", "poll_requested_events", "simple_read_from_buffer", "stream_open",
]  # fmt: skip

# file.f_mode (include/linux/fs.h)
FMODE_READ = 0x1
FMODE_WRITE = 0x2
FMODE_LSEEK = 0x4
FMODE_PREAD = 0x8
FMODE_PWRITE = 0x10
FMODE_EXEC = 0x20
FMODE_ATOMIC_POS = 0x8000
FMODE_CAN_READ = 0x20000
FMODE_CAN_WRITE = 0x40000
FMODE_STREAM = 0x200000

_MINORBITS = 20  # the kernel's own device numbers; user space packs them in another way


class AddressSpace:
    """The pages of a file, and who maps them: ``struct address_space``.

    Source: include/linux/fs.h
    Fidelity: known by its ``host``, the inode, and good for `unmap_mapping_range` only.
    """

    __slots__ = ("host",)

    def __init__(self, host: "Inode") -> None:
        """Describe the pages of ``host``."""
        self.host = host


class Inode:
    """A device node: ``struct inode``.

    Source: include/linux/fs.h
    """

    __slots__ = ("i_gid", "i_ino", "i_mapping", "i_mode", "i_private", "i_rdev", "i_size", "i_uid")

    def __init__(
        self,
        i_rdev: int = 0,
        i_mode: int = 0,
        i_ino: int = 0,
        i_uid: int = 0,
        i_gid: int = 0,
    ) -> None:
        """Describe a node.

        :param i_rdev: its device number, as `MKDEV` makes it
        :param i_mode: its type and permissions, as in stat(2)
        """
        self.i_rdev = i_rdev
        self.i_mode = i_mode
        self.i_ino = i_ino
        self.i_uid = i_uid
        self.i_gid = i_gid
        self.i_size = 0
        self.i_private: Any = None
        self.i_mapping = AddressSpace(self)

    def __repr__(self) -> str:
        """Show the device number."""
        return f"<Inode {imajor(self)}:{iminor(self)}>"


class FownStruct:
    """Who is signalled of an open file, and how: ``struct fown_struct``.

    :ivar pid: the number of the thread, process or group; 0: nobody is signalled
    :ivar pid_type: F_OWNER_TID, F_OWNER_PID or F_OWNER_PGRP
    :ivar signum: the signal of F_SETSIG; 0: SIGIO

    Source: include/linux/fs.h
    """

    __slots__ = ("pid", "pid_type", "signum")

    def __init__(self) -> None:
        """Make an owner that is nobody."""
        self.pid = self.pid_type = self.signum = 0


class File:
    """An open file: ``struct file``.

    ``f_flags`` are ``O_*`` bits, ``f_mode`` ``FMODE_*`` bits, ``f_pos`` is the position in bytes,
    ``f_op`` the driver, ``f_path`` the path of the node, ``private_data`` the driver's to use.

    :ivar f_owner: who is signalled, on the embedded host; None if nobody was named yet
    :ivar poll_queues: the wait queues that `poll_wait` was called with
    :ivar poll_events: what is polled for, while poll runs; None where nobody can know

    Source: include/linux/fs.h
    Fidelity: ``f_op`` is the `mapdev.Driver` object and ``f_path`` a string.
    """

    __slots__ = (
        "__weakref__",
        "f_flags",
        "f_inode",
        "f_mode",
        "f_op",
        "f_owner",
        "f_path",
        "f_pos",
        "poll_events",
        "poll_queues",
        "private_data",
    )

    def __init__(
        self,
        f_inode: Inode,
        f_op: Any,
        f_flags: int = 0,
        f_mode: int = 0,
        f_path: str = "",
        private_data: Any = None,
    ) -> None:
        """Describe an open file at position 0."""
        self.f_inode = f_inode
        self.f_op = f_op
        self.f_flags = f_flags
        self.f_mode = f_mode
        self.f_path = f_path
        self.f_pos = 0
        self.f_owner: FownStruct | None = None
        self.poll_events: int | None = None
        self.poll_queues: set[Hashable] = set()
        self.private_data = private_data

    @property
    def f_mapping(self) -> AddressSpace:
        """The node's pages."""
        return self.f_inode.i_mapping

    def __repr__(self) -> str:
        """Show path and flags."""
        return f"<File {self.f_path!r} f_flags={self.f_flags:#o}>"


def MKDEV(major: int, minor: int) -> int:
    """Make a device number of its two parts.

    Source: include/linux/kdev_t.h
    """
    return major << _MINORBITS | minor


def MAJOR(dev: int) -> int:
    """Give the major part of a device number.

    Source: include/linux/kdev_t.h
    """
    return dev >> _MINORBITS


def MINOR(dev: int) -> int:
    """Give the minor part of a device number.

    Source: include/linux/kdev_t.h
    """
    return dev & (1 << _MINORBITS) - 1


def imajor(inode: Inode) -> int:
    """Give a node's major number.

    Source: include/linux/fs.h
    """
    return MAJOR(inode.i_rdev)


def iminor(inode: Inode) -> int:
    """Give a node's minor number.

    Source: include/linux/fs.h
    """
    return MINOR(inode.i_rdev)


def file_inode(file: File) -> Inode:
    """Give the node that a file was opened from.

    Source: include/linux/fs.h
    """
    return file.f_inode


def _set_position(file: File, position: int, maximum: int | None = None) -> int:
    if position < 0 or (maximum is not None and position > maximum):
        raise OSError(errno.EINVAL, f"seek to {position}")
    file.f_pos = position
    return position


def no_llseek(file: File, offset: int, whence: int) -> int:
    """Refuse to seek.

    :raises OSError: ESPIPE, always

    Source: fs/read_write.c (gone since Linux 6.12, where a missing llseek means the same)
    """
    raise OSError(errno.ESPIPE, "the device can't seek")


def noop_llseek(file: File, offset: int, whence: int) -> int:
    """Accept any seek and stay where the file is.

    :return: the position in bytes

    Source: fs/read_write.c
    """
    return file.f_pos


def default_llseek(file: File, offset: int, whence: int) -> int:
    """Seek in a file whose end is the node's ``i_size``, and beyond.

    :param offset: bytes
    :param whence: ``SEEK_*``
    :return: the new position in bytes
    :raises OSError: EINVAL, the position would be negative or ``whence`` is unknown; ENXIO,
        SEEK_DATA or SEEK_HOLE from the end or beyond

    Source: fs/read_write.c
    """
    size = file.f_inode.i_size
    if whence == SEEK_CUR:
        offset += file.f_pos
    elif whence == SEEK_END:
        offset += size
    elif whence in (SEEK_DATA, SEEK_HOLE):
        if offset >= size:
            raise OSError(errno.ENXIO, f"seek for data or a hole at {offset}, the end is {size}")
        offset = size if whence == SEEK_HOLE else offset
    elif whence != SEEK_SET:
        raise OSError(errno.EINVAL, f"unknown whence {whence}")
    return _set_position(file, offset)


def fixed_size_llseek(file: File, offset: int, whence: int, size: int) -> int:
    """Seek in a device of fixed size, up to its end.

    :param offset: bytes
    :param whence: ``SEEK_SET``, ``SEEK_CUR`` or ``SEEK_END``
    :param size: of the device, in bytes
    :return: the new position in bytes
    :raises OSError: EINVAL, the position would be negative or past the end, or another ``whence``

    Source: fs/read_write.c
    """
    if whence == SEEK_CUR:
        if offset == 0:
            return file.f_pos
        offset += file.f_pos
    elif whence == SEEK_END:
        offset += size
    elif whence != SEEK_SET:
        raise OSError(errno.EINVAL, f"unknown whence {whence}")
    return _set_position(file, offset, size)


def nonseekable_open(inode: Inode, file: File) -> int:
    """Make an open file refuse lseek, pread and pwrite (ESPIPE); for use in an open operation.

    :return: 0

    Source: fs/open.c
    """
    file.f_mode &= ~(FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE)
    return 0


def stream_open(inode: Inode, file: File) -> int:
    """Make an open file a stream without a position; for use in an open operation.

    :return: 0

    Source: fs/open.c
    """
    file.f_mode &= ~(FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE | FMODE_ATOMIC_POS)
    file.f_mode |= FMODE_STREAM
    return 0


def anon_inode_getfd(name: str, fops: Any, priv: Any, flags: int) -> int:
    """Open a new file without a node in the task that made the call.

    :param name: what /proc/PID/fd shows of it, where the host can
    :param fops: the driver that serves it
    :param priv: its ``private_data``
    :param flags: ``O_CLOEXEC``, ``O_NONBLOCK`` and the access mode
    :return: the descriptor in the calling task
    :raises OSError: EMFILE, the task has too many open files; ESRCH, no call is being handled

    Source: fs/anon_inodes.c
    """
    task = context().task
    if task is None:
        raise OSError(errno.ESRCH, "anon_inode_getfd: no client's call is being handled")
    return task.install_file(name, fops, priv, flags)


def fget(fd: int) -> File:
    """Give the open file that the task which made the call has at a descriptor.

    :param fd: a descriptor of the calling task
    :raises OSError: EBADF, no file of a driver of this host is there; ESRCH, no call is handled

    Source: fs/file.c
    Fidelity: files of this host's drivers only, on the embedded host only; it is not counted, so it
    is to be used during the call.
    """
    found: File = context().user().get_file(fd)
    return found


def poll_requested_events(file: File) -> int | None:
    """Give the events that a program polls a file for; for use in a poll operation.

    :return: ``EPOLL*`` bits; None where the answer is for all that will poll

    Source: include/linux/poll.h
    Fidelity: known on the embedded host where it has FUSE, when a program polls; not after a
    wake-up, or elsewhere, where the kernel's own answer would depend on them.
    """
    return file.poll_events


def simple_read_from_buffer(count: int, ppos: int, from_: Any) -> bytes:
    """Give what a read of some memory returns: up to `count` bytes from offset `ppos`.

    :param count: bytes
    :param ppos: the offset, in bytes
    :param from_: an object with bytes
    :return: the bytes; none at the end and beyond it
    :raises OSError: EINVAL, the offset is negative

    Source: fs/libfs.c
    Fidelity: gives the bytes for the operation to return; in C they are copied to the program, and
    the position is moved, which the host does.
    """
    if ppos < 0:
        raise OSError(errno.EINVAL, f"read at {ppos}")
    return bytes(memoryview(as_bytes(from_))[ppos : ppos + count])
