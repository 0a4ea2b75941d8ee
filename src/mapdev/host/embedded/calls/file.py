"""Handles system calls on an open device: lseek, fsync, fstat; see also `transfer`, `ioctl`.

The checks are those of the kernel's virtual file system, in its order; then the driver's operation
runs.

Source: fs/read_write.c, fs/open.c, fs/sync.c, mm/fadvise.c, mm/readahead.c
"""

from __future__ import annotations

import errno
import os

from mapdev.host.embedded.calls.ioctl import ioctl
from mapdev.host.embedded.calls.splice import vmsplice, vmsplice_from
from mapdev.host.embedded.calls.transfer import OPERATIONS, POSITIONAL, Operation
from mapdev.host.embedded.calls.userfaults import unless_userfaultfd
from mapdev.host.embedded.calls.verdict import ANSWERED, PASS_ON, Handler, Result, Verdict, signed64
from mapdev.host.embedded.files.directories import Listing
from mapdev.host.embedded.files.node import pack_stat
from mapdev.host.embedded.files.open_file import OpenFile
from mapdev.host.embedded.inject.injection import Injection
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.linux.fs import FMODE_LSEEK, FMODE_READ, FMODE_WRITE

SEEK_MAX = 4
SYNC_FILE_RANGE_ALL = 7  # WAIT_BEFORE, WRITE, WAIT_AFTER
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_COLLAPSE_RANGE = 0x1, 0x2, 0x8
FALLOC_FL_ZERO_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_UNSHARE_RANGE = 0x10, 0x20, 0x40
_FALLOCATE_MODES = {
    0: (0, FALLOC_FL_ZERO_RANGE, FALLOC_FL_UNSHARE_RANGE, FALLOC_FL_COLLAPSE_RANGE,
        FALLOC_FL_INSERT_RANGE),
    FALLOC_FL_KEEP_SIZE: (0, FALLOC_FL_ZERO_RANGE, FALLOC_FL_UNSHARE_RANGE, FALLOC_FL_PUNCH_HOLE),
}  # fmt: skip
"""What may be asked of a range, without and with FALLOC_FL_KEEP_SIZE."""


def _error(code: int, text: str = "") -> OSError:
    return OSError(code, text or os.strerror(code))


def _on_device(
    operation: Operation, checks_fd: bool = False, needs_device: bool = False
) -> Handler:
    """Make a handler of `operation`, which is for devices only; other files are the kernel's.

    :param checks_fd: `operation` itself refuses a file that was opened with O_PATH, since it looks
        at other arguments first.
    :param needs_device: it fails with ENODEV once the device was removed.
    """

    def handle(kernel: Subsystems, call: Call) -> Result:
        open_file = kernel.files.of(call)
        if open_file is None:
            return PASS_ON
        if open_file.path_only and not checks_fd:
            raise _error(errno.EBADF)
        if needs_device and open_file.device.is_gone:
            raise _error(errno.ENODEV)
        return operation(kernel, call, open_file)

    return handle


def _do_vmsplice(kernel: Subsystems, call: Call) -> Result:
    open_file = kernel.files.of(call)
    if open_file is None:
        return vmsplice_from(kernel, call)
    return vmsplice(kernel, call, open_file)


def _lseek(kernel: Subsystems, call: Call, open_file: OpenFile) -> Result:
    offset, whence = signed64(call.args[1]), call.args[2] & 0xFFFFFFFF
    if whence > SEEK_MAX:
        raise _error(errno.EINVAL)
    if not open_file.file.f_mode & FMODE_LSEEK:
        raise _error(errno.ESPIPE)
    return kernel.operations.llseek(call, offset, whence)


def _fsync(datasync: bool) -> Operation:
    def operation(kernel: Subsystems, call: Call, open_file: OpenFile) -> Result:
        if "fsync" not in open_file.device.has:
            raise _error(errno.EINVAL)
        return kernel.operations.fsync(call, datasync)

    return operation


def _fstat(kernel: Subsystems, call: Call) -> int | Verdict:
    open_file = kernel.files.of(call)
    if open_file is not None:
        device = open_file.device
    else:
        node = kernel.directories.ours_at(call.tid, call.args[0] & 0xFFFFFFFF)
        if node is None:
            return PASS_ON
        device = kernel.paths.overlay.device(node)
    packed = pack_stat(device)
    if kernel.machine.write_user(call.tid, call.args[1], packed) < len(packed):
        raise _error(errno.EFAULT)
    return 0


def _ftruncate(kernel: Subsystems, call: Call, open_file: OpenFile) -> int:
    is_writable = open_file.file.f_mode & FMODE_WRITE and not open_file.path_only
    if is_writable and signed64(call.args[1]) >= 0 and not open_file.device.is_character_device:
        return 0  # the file of an attribute: it stays as long as it is (fs/kernfs/inode.c)
    is_bad = open_file.path_only and signed64(call.args[1]) >= 0
    raise _error(errno.EBADF if is_bad else errno.EINVAL)


def _fallocate(kernel: Subsystems, call: Call, open_file: OpenFile) -> int:
    """Refuse fallocate(2), for which there are regular files, as late as vfs_fallocate does."""
    mode, offset, length = call.args[1] & 0xFFFFFFFF, *map(signed64, call.args[2:4])
    if offset < 0 or length <= 0:
        raise _error(errno.EINVAL)
    if mode & ~FALLOC_FL_KEEP_SIZE not in _FALLOCATE_MODES.get(mode & FALLOC_FL_KEEP_SIZE, ()):
        raise _error(errno.EOPNOTSUPP)
    if not open_file.file.f_mode & FMODE_WRITE:
        raise _error(errno.EBADF)
    is_device = open_file.device.is_character_device
    raise _error(errno.ENODEV if is_device else errno.EOPNOTSUPP)


def _fadvise(kernel: Subsystems, call: Call, open_file: OpenFile) -> int:
    length, advice = signed64(call.args[2]), call.args[3] & 0xFFFFFFFF
    if length < 0 or advice > os.POSIX_FADV_NOREUSE:
        raise _error(errno.EINVAL)
    return 0


def _readahead(kernel: Subsystems, call: Call, open_file: OpenFile) -> int:
    raise _error(errno.EINVAL if open_file.file.f_mode & FMODE_READ else errno.EBADF)


def _sync_file_range(kernel: Subsystems, call: Call, open_file: OpenFile) -> int:
    """Refuse it, after the checks of its arguments: it is for files with pages.

    Source: fs/sync.c (sync_file_range)
    """
    offset, count = signed64(call.args[1]), signed64(call.args[2])
    end = offset + count
    if call.args[3] & 0xFFFFFFFF > SYNC_FILE_RANGE_ALL or offset < 0 or not offset <= end < 1 << 63:
        raise _error(errno.EINVAL)
    raise _error(errno.ESPIPE)


def _always(code: int) -> Handler:
    """Fail with `code` on a device: what the kernel says of any character device."""

    def operation(kernel: Subsystems, call: Call, open_file: OpenFile) -> int:
        raise _error(code)

    return _on_device(operation)


def _getdents(is_old: bool) -> Handler:
    """Make a handler that lists directories with names of ours in them.

    Source: fs/readdir.c
    """

    def handle(kernel: Subsystems, call: Call) -> Result:
        open_file = kernel.files.of(call)
        if open_file is not None:
            raise _error(errno.EBADF if open_file.path_only else errno.ENOTDIR)
        fd, buffer, size = call.args[0] & 0xFFFFFFFF, call.args[1], call.args[2] & 0xFFFFFFFF
        node = kernel.directories.at(call.tid, fd)
        if node is None:
            return PASS_ON
        listing = kernel.directories.read(call, node, fd, size, is_old)
        try:
            if listing.data and call.put_data(buffer, listing.data) < len(listing.data):
                listing.undo()
                raise _error(errno.EFAULT)
            if listing.is_borrowed:
                listing.commit()
                return len(listing.data)
            return _set_position(kernel, call, fd, listing)
        finally:
            listing.close()

    return handle


def _set_position(kernel: Subsystems, call: Call, fd: int, listing: Listing) -> Result:
    """Move the position of the client's directory by a call of its own: we can't get a copy."""
    with Injection(
        kernel.injector, call, "it can't list a directory of mapdev's", own=True
    ) as injection:
        injection.thread.syscall("lseek", fd, listing.end, os.SEEK_SET, descriptor=0)
        injection.result = len(listing.data)
    return ANSWERED


HANDLERS: dict[str, Handler] = {
    **{name: _on_device(operation, needs_device=True) for name, operation in OPERATIONS.items()},
    **{
        name: _on_device(operation, True, needs_device=True)
        for name, operation in POSITIONAL.items()
    },
    "lseek": _on_device(_lseek, needs_device=True),
    "ioctl": unless_userfaultfd(_on_device(ioctl)),
    "fsync": _on_device(_fsync(False), needs_device=True),
    "fdatasync": _on_device(_fsync(True), needs_device=True),
    "fstat": _fstat,
    "ftruncate": _on_device(_ftruncate, checks_fd=True),
    "fallocate": _on_device(_fallocate),
    "getdents": _getdents(is_old=True),
    "getdents64": _getdents(is_old=False),
    "fadvise64": _on_device(_fadvise),
    "readahead": _on_device(_readahead),
    "sync_file_range": _on_device(_sync_file_range),
    "flistxattr": _on_device(lambda kernel, call, open_file: 0),
    "vmsplice": _do_vmsplice,
}
