"""Calls on an open device: seek, ioctl, fsync, stat and, from `transfer`, reading and writing.

The checks are those of the kernel's virtual file system, in its order; then the driver's operation
runs.

Source: fs/read_write.c, fs/ioctl.c, fs/sync.c
"""

from __future__ import annotations

import errno
import os

from mapdev.host.embedded.calls.transfer import OPERATIONS, Operation
from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Result, Verdict, signed64
from mapdev.host.embedded.files import OpenFile
from mapdev.host.embedded.kernel import Kernel
from mapdev.host.embedded.node import pack_stat
from mapdev.host.embedded.notify import Call
from mapdev.host.embedded.syscall_table import BY_NUMBER
from mapdev.linux.fs import FMODE_LSEEK, FMODE_WRITE

SEEK_MAX = 4
FIONCLEX, FIOCLEX, FIONBIO = 0x5450, 0x5451, 0x5421


def _error(code: int, text: str = "") -> OSError:
    return OSError(code, text or os.strerror(code))


def _on_device(operation: Operation) -> Handler:
    """Make a handler of `operation`, which is for devices only; other files are the kernel's."""

    def handle(kernel: Kernel, call: Call) -> Result:
        open_file = kernel.file(call)
        if open_file is None:
            return PASS_ON
        if open_file.path_only:
            raise _error(errno.EBADF)
        return operation(kernel, call, open_file)

    return handle


def _lseek(kernel: Kernel, call: Call, open_file: OpenFile) -> Result:
    offset, whence = signed64(call.args[1]), call.args[2] & 0xFFFFFFFF
    if not open_file.file.f_mode & FMODE_LSEEK:
        raise _error(errno.ESPIPE)
    if whence > SEEK_MAX:
        raise _error(errno.EINVAL)
    return kernel.operations.llseek(call, offset, whence)


def _ioctl(kernel: Kernel, call: Call, open_file: OpenFile) -> Result:
    cmd, arg = call.args[1] & 0xFFFFFFFF, call.args[2]
    if cmd in (FIOCLEX, FIONCLEX):
        return PASS_ON
    if cmd == FIONBIO:
        raw = kernel.machine.read_user(call.tid, arg, 4)
        _set_nonblocking(open_file, len(raw) == 4 and any(raw))
        return 0
    if "ioctl" not in open_file.device.has:
        raise _error(errno.ENOTTY)
    return kernel.operations.ioctl(call, cmd, arg)


def _set_nonblocking(open_file: OpenFile, on: bool) -> None:
    if on:
        open_file.file.f_flags |= os.O_NONBLOCK
    else:
        open_file.file.f_flags &= ~os.O_NONBLOCK


def _fsync(datasync: bool) -> Operation:
    def operation(kernel: Kernel, call: Call, open_file: OpenFile) -> Result:
        if "fsync" not in open_file.device.has:
            raise _error(errno.EINVAL)
        return kernel.operations.fsync(call, datasync)

    return operation


def _fstat(kernel: Kernel, call: Call) -> int | Verdict:
    open_file = kernel.file(call)
    if open_file is None:
        return PASS_ON
    packed = pack_stat(open_file.device)
    if kernel.machine.write_user(call.tid, call.args[1], packed) < len(packed):
        raise _error(errno.EFAULT)
    return 0


def _fallocate(kernel: Kernel, call: Call, open_file: OpenFile) -> int:
    raise _error(errno.ENODEV if open_file.file.f_mode & FMODE_WRITE else errno.EBADF)


def _always(code: int) -> Handler:
    """Fail with `code` on a device: what the kernel says of any character device."""

    def operation(kernel: Kernel, call: Call, open_file: OpenFile) -> int:
        raise _error(code)

    return _on_device(operation)


def _between_files(kernel: Kernel, call: Call) -> int | Verdict:
    """Refuse to move data between two files, one of them a device."""
    first, second = BY_NUMBER[call.nr].fds
    if kernel.file(call, first) is None and kernel.file(call, second) is None:
        return PASS_ON
    raise _error(errno.EINVAL)


HANDLERS: dict[str, Handler] = {
    **{name: _on_device(operation) for name, operation in OPERATIONS.items()},
    "lseek": _on_device(_lseek),
    "ioctl": _on_device(_ioctl),
    "fsync": _on_device(_fsync(False)),
    "fdatasync": _on_device(_fsync(True)),
    "fstat": _fstat,
    "ftruncate": _always(errno.EINVAL),
    "fallocate": _on_device(_fallocate),
    "getdents": _always(errno.ENOTDIR),
    "getdents64": _always(errno.ENOTDIR),
    "fadvise64": _on_device(lambda kernel, call, open_file: 0),
    "flistxattr": _on_device(lambda kernel, call, open_file: 0),
    "vmsplice": _always(errno.EBADF),
    "sendfile": _between_files,
    "tee": _between_files,
    "splice": _between_files,
    "copy_file_range": _between_files,
}
