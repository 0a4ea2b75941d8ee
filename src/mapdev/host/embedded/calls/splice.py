"""Calls that move data between two files in the kernel: sendfile, splice, tee, copy_file_range.

A driver without `splice_read` and `splice_write` refuses them all by EINVAL. What the kernel looks
at before that is looked at here, in its order; it can't be left to the kernel, which would find the
socket that stands for a device.

Source: fs/read_write.c (do_sendfile, vfs_copy_file_range), fs/splice.c
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from mapdev.host.embedded.calls.transfer import import_iovec
from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Result, signed64
from mapdev.host.embedded.files.open_file import OpenFile
from mapdev.host.embedded.libc import file_status
from mapdev.host.embedded.processes import descriptor_flags
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.embedded.syscalls.table import BY_NUMBER
from mapdev.linux.fs import FMODE_PREAD, FMODE_PWRITE, FMODE_READ, FMODE_WRITE
from mapdev.linux.numbers import VM_IO, VM_PFNMAP

_SPLICE_F_ALL = 0xF
_LLONG_MAX = (1 << 63) - 1


class _End(NamedTuple):
    """One of the two files: a device or another.

    :ivar f_mode: ``FMODE_*`` bits.
    :ivar pos: where it stands; 0 of another file, which the kernel would have to say.
    """

    f_mode: int
    f_flags: int
    st_mode: int
    pos: int


def _end(kernel: Subsystems, call: Call, argument: int) -> _End:
    """Return what a descriptor means.

    :raises OSError: EBADF it is not open, or by O_PATH.
    """
    fd = call.args[argument] & 0xFFFFFFFF
    device = kernel.files.table.at(call.tid, fd)
    if device is not None:
        if device.path_only:
            raise _error(errno.EBADF)
        file = device.file
        return _End(file.f_mode, file.f_flags, stat.S_IFCHR, file.f_pos)
    try:
        st_mode = file_status(f"/proc/{call.tid}/fd/{fd}").st_mode
        flags = descriptor_flags(call.tid, fd)
    except OSError:
        raise _error(errno.EBADF) from None
    if flags & os.O_PATH:
        raise _error(errno.EBADF)
    f_mode = (flags & os.O_ACCMODE) + 1 & (FMODE_READ | FMODE_WRITE)
    if not (stat.S_ISFIFO(st_mode) or stat.S_ISSOCK(st_mode)):
        f_mode |= FMODE_PREAD | FMODE_PWRITE
    return _End(f_mode, flags, st_mode, 0)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _has_device(kernel: Subsystems, call: Call) -> bool:
    first, second = BY_NUMBER[call.nr].fds
    is_first = kernel.files.of(call, first) is not None
    return kernel.files.of(call, second) is not None or is_first


def _offset(call: Call, argument: int) -> int | None:
    """Return the offset that an argument points to; None for a null pointer."""
    addr = call.args[argument]
    return signed64(int.from_bytes(call.read_user(addr, 8), "little")) if addr else None


def _verify_area(pos: int, count: int) -> None:
    if pos < 0 or pos + count > _LLONG_MAX:
        raise _error(errno.EINVAL)


def _sendfile(kernel: Subsystems, call: Call) -> Result:
    if not _has_device(kernel, call):
        return PASS_ON
    pos, count = _offset(call, 2), call.args[3]
    source = _end(kernel, call, 1)
    if not source.f_mode & FMODE_READ:
        raise _error(errno.EBADF)
    if pos is not None and not source.f_mode & FMODE_PREAD:
        raise _error(errno.ESPIPE)
    _verify_area(source.pos if pos is None else pos, count)
    target = _end(kernel, call, 0)
    if not target.f_mode & FMODE_WRITE:
        raise _error(errno.EBADF)
    if not count and stat.S_ISREG(source.st_mode):
        return 0
    raise _error(errno.EINVAL)


def _splice(kernel: Subsystems, call: Call) -> Result:
    if not _has_device(kernel, call):
        return PASS_ON
    count, flags = call.args[4:6]
    if not count:
        return 0
    if flags & 0xFFFFFFFF & ~_SPLICE_F_ALL:
        raise _error(errno.EINVAL)
    source, target = _end(kernel, call, 0), _end(kernel, call, 2)
    if (stat.S_ISFIFO(source.st_mode) and call.args[1]) or (
        stat.S_ISFIFO(target.st_mode) and call.args[3]
    ):
        raise _error(errno.ESPIPE)
    _offset(call, 3)
    _offset(call, 1)
    if not source.f_mode & FMODE_READ or not target.f_mode & FMODE_WRITE:
        raise _error(errno.EBADF)
    raise _error(errno.EINVAL)  # whatever the offsets


def _tee(kernel: Subsystems, call: Call) -> Result:
    if not _has_device(kernel, call):
        return PASS_ON
    count, flags = call.args[2:4]
    if flags & 0xFFFFFFFF & ~_SPLICE_F_ALL:
        raise _error(errno.EINVAL)
    if not count:
        return 0
    source, target = _end(kernel, call, 0), _end(kernel, call, 1)
    if not source.f_mode & FMODE_READ or not target.f_mode & FMODE_WRITE:
        raise _error(errno.EBADF)
    raise _error(errno.EINVAL)  # two pipes are needed


def _copy_file_range(kernel: Subsystems, call: Call) -> Result:
    if not _has_device(kernel, call):
        return PASS_ON
    ends = _end(kernel, call, 0), _end(kernel, call, 2)
    _offset(call, 1)
    _offset(call, 3)
    if not call.args[5] & 0xFFFFFFFF and any(stat.S_ISDIR(end.st_mode) for end in ends):
        raise _error(errno.EISDIR)
    raise _error(errno.EINVAL)  # two regular files are needed


def vmsplice(kernel: Subsystems, call: Call, open_file: OpenFile) -> Result:
    """Refuse vmsplice(2), which is for pipes, as late as the kernel does."""
    _, vector, count, flags = call.args[:4]
    if flags & 0xFFFFFFFF & ~_SPLICE_F_ALL:
        raise _error(errno.EINVAL)
    if not open_file.file.f_mode & (FMODE_READ | FMODE_WRITE):
        raise _error(errno.EBADF)  # of O_PATH, too
    if not sum(length for _, length in import_iovec(kernel, call, vector, count)):
        return 0
    raise _error(errno.EBADF)


def vmsplice_from(kernel: Subsystems, call: Call) -> Result:
    """Refuse to give a pipe pages of a PFN-mapped area: there are none (fs/splice.c, mm/gup.c).

    Fidelity: EFAULT only if these come first; of a pipe at a low number.
    """
    space = kernel.spaces.of(call.tid) if kernel.spaces.by_tgid else None
    if space is None:
        return PASS_ON
    try:
        flags = descriptor_flags(call.tid, call.args[0] & 0xFFFFFFFF)
        pieces = import_iovec(kernel, call, call.args[1], call.args[2])
    except OSError:
        return PASS_ON
    if flags & os.O_ACCMODE == os.O_RDONLY:
        return PASS_ON  # into memory, by a copy
    addr = next((addr for addr, length in pieces if length), 0)
    area = space.find(addr)
    if area is not None and area.vm_flags & (VM_PFNMAP | VM_IO):
        raise _error(errno.EFAULT)
    return PASS_ON


HANDLERS: dict[str, Handler] = {
    "sendfile": _sendfile,
    "splice": _splice,
    "tee": _tee,
    "copy_file_range": _copy_file_range,
}
