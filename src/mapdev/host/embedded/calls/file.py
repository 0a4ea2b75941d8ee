"""Calls on an open device: read, write, seek, ioctl, fsync and stat, in all their forms.

The checks are those of the kernel's virtual file system, in its order; then the driver's operation
runs. Data cross by process_vm_readv and process_vm_writev, with no copy in between but one.

Source: fs/read_write.c, fs/ioctl.c, fs/sync.c
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator

from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Verdict, signed32, signed64
from mapdev.host.embedded.files import OpenFile
from mapdev.host.embedded.kernel import Kernel
from mapdev.host.embedded.node import pack_stat
from mapdev.host.embedded.notify import Call
from mapdev.linux.fs import FMODE_LSEEK, FMODE_PREAD, FMODE_PWRITE, FMODE_READ, FMODE_WRITE
from mapdev.linux.mm import TaskStruct

MAX_RW_COUNT = 0x7FFFF000
UIO_MAXIOV = 1024
RWF_HIPRI = 1
SEEK_MAX = 4
FIONCLEX, FIOCLEX, FIONBIO = 0x5450, 0x5451, 0x5421
_IOVEC = struct.Struct("<QQ")

Operation = Callable[[Kernel, Call, OpenFile], int | Verdict]


def _error(code: int, text: str = "") -> OSError:
    return OSError(code, text or os.strerror(code))


def _on_device(operation: Operation) -> Handler:
    """Make a handler of `operation`, which is for devices only; other files are the kernel's."""

    def handle(kernel: Kernel, call: Call) -> int | Verdict:
        open_file = kernel.file(call)
        if open_file is None:
            return PASS_ON
        if open_file.path_only:
            raise _error(errno.EBADF)
        return operation(kernel, call, open_file)

    return handle


# --- one transfer ----------------------------------------------------------------------------


def _read_once(
    kernel: Kernel, task: TaskStruct, of: OpenFile, buffer: int, count: int, pos: int
) -> int:
    data = kernel.dispatch.read(of.device, task, of.file, min(count, MAX_RW_COUNT), pos)
    if len(data) and kernel.machine.write_user(task.pid, buffer, data) < len(data):
        raise _error(errno.EFAULT)
    return len(data)


def _write_once(
    kernel: Kernel, task: TaskStruct, of: OpenFile, buffer: int, count: int, pos: int
) -> int:
    count = min(count, MAX_RW_COUNT)
    data = kernel.machine.read_user(task.pid, buffer, count) if count else b""
    if len(data) < count:
        raise _error(errno.EFAULT)
    return kernel.dispatch.write(of.device, task, of.file, data, pos)


Transfer = Callable[[Kernel, TaskStruct, OpenFile, int, int, int], int]


def _check(open_file: OpenFile, transfer: Transfer) -> None:
    """Check that the file is open for the transfer and that the driver can do it."""
    reading = transfer is _read_once
    if not open_file.file.f_mode & (FMODE_READ if reading else FMODE_WRITE):
        raise _error(errno.EBADF)
    if not open_file.device.driver.has("read" if reading else "write"):
        raise _error(errno.EINVAL)


def _transfer(
    kernel: Kernel,
    call: Call,
    open_file: OpenFile,
    transfer: Transfer,
    pieces: Iterator[tuple[int, int]],
    pos: int | None,
) -> int:
    """Transfer each piece (address, bytes) of the client's memory; stop at the first short one.

    :param pos: offset in bytes, or None for the file's own position, which then moves.
    """
    _check(open_file, transfer)
    task = kernel.task(call)
    file = open_file.file
    at = file.f_pos if pos is None else pos
    total = 0
    for buffer, count in pieces:
        try:
            done = transfer(kernel, task, open_file, buffer, count, at)
        except OSError:
            if total:
                break
            raise
        at += done
        total += done
        if done < count:
            break
    if pos is None:
        file.f_pos = at
    kernel.refresh_poll(open_file)
    return total


def _plain(transfer: Transfer) -> Operation:
    """read(2), write(2)."""

    def operation(kernel: Kernel, call: Call, open_file: OpenFile) -> int:
        _, buffer, count = call.args[:3]
        return _transfer(kernel, call, open_file, transfer, iter([(buffer, count)]), None)

    return operation


def _positional(transfer: Transfer) -> Operation:
    """pread64(2), pwrite64(2)."""

    def operation(kernel: Kernel, call: Call, open_file: OpenFile) -> int:
        _, buffer, count, offset = call.args[:4]
        pos = _position(open_file, transfer, offset)
        return _transfer(kernel, call, open_file, transfer, iter([(buffer, count)]), pos)

    return operation


def _vector(transfer: Transfer, positional: bool = False, flagged: bool = False) -> Operation:
    """readv(2), writev(2), preadv(2), pwritev(2), preadv2(2), pwritev2(2)."""

    def operation(kernel: Kernel, call: Call, open_file: OpenFile) -> int:
        _, vector, count, offset, _, flags = call.args
        pos: int | None = None
        if positional and not (flagged and signed64(offset) == -1):
            pos = _position(open_file, transfer, offset)
        _check(open_file, transfer)
        if flagged and signed32(flags) & ~RWF_HIPRI:
            raise _error(errno.EOPNOTSUPP)
        pieces = _read_iovecs(kernel, call, vector, count)
        return _transfer(kernel, call, open_file, transfer, iter(pieces), pos)

    return operation


def _position(open_file: OpenFile, transfer: Transfer, offset: int) -> int:
    pos = signed64(offset)
    if pos < 0:
        raise _error(errno.EINVAL)
    wanted = FMODE_PREAD if transfer is _read_once else FMODE_PWRITE
    if not open_file.file.f_mode & wanted:
        raise _error(errno.ESPIPE)
    return pos


def _read_iovecs(kernel: Kernel, call: Call, address: int, count: int) -> list[tuple[int, int]]:
    if count > UIO_MAXIOV:
        raise _error(errno.EINVAL)
    size = count * _IOVEC.size
    raw = kernel.machine.read_user(call.tid, address, size) if size else b""
    if len(raw) < size:
        raise _error(errno.EFAULT)
    pieces = list(_IOVEC.iter_unpack(raw))
    if any(signed64(length) < 0 for _, length in pieces):
        raise _error(errno.EINVAL)
    return pieces


# --- the rest ----------------------------------------------------------------------------------


def _lseek(kernel: Kernel, call: Call, open_file: OpenFile) -> int:
    offset, whence = signed64(call.args[1]), call.args[2] & 0xFFFFFFFF
    if not open_file.file.f_mode & FMODE_LSEEK:
        raise _error(errno.ESPIPE)
    if whence > SEEK_MAX:
        raise _error(errno.EINVAL)
    return kernel.dispatch.llseek(
        open_file.device, kernel.task(call), open_file.file, offset, whence
    )


def _ioctl(kernel: Kernel, call: Call, open_file: OpenFile) -> int | Verdict:
    cmd, arg = call.args[1] & 0xFFFFFFFF, call.args[2]
    if cmd in (FIOCLEX, FIONCLEX):
        return PASS_ON
    if cmd == FIONBIO:
        raw = kernel.machine.read_user(call.tid, arg, 4)
        _set_nonblocking(open_file, len(raw) == 4 and any(raw))
        return 0
    if not open_file.device.driver.has("ioctl"):
        raise _error(errno.ENOTTY)
    kernel.machine.install = lambda *file: kernel.install_file(call, *file)
    try:
        result = kernel.dispatch.ioctl(
            open_file.device, kernel.task(call), open_file.file, cmd, arg
        )
    finally:
        kernel.machine.install = None
    kernel.refresh_poll(open_file)
    return result


def _set_nonblocking(open_file: OpenFile, on: bool) -> None:
    if on:
        open_file.file.f_flags |= os.O_NONBLOCK
    else:
        open_file.file.f_flags &= ~os.O_NONBLOCK


def _fsync(datasync: bool) -> Operation:
    def operation(kernel: Kernel, call: Call, open_file: OpenFile) -> int:
        if not open_file.device.driver.has("fsync"):
            raise _error(errno.EINVAL)
        kernel.dispatch.fsync(open_file.device, kernel.task(call), open_file.file, datasync)
        return 0

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


def _either_descriptor(first: int, second: int) -> Handler:
    """Refuse calls that move data between two files, one of them a device."""

    def handle(kernel: Kernel, call: Call) -> int | Verdict:
        if kernel.file(call, first) is None and kernel.file(call, second) is None:
            return PASS_ON
        raise _error(errno.EINVAL)

    return handle


HANDLERS: dict[str, Handler] = {
    "read": _on_device(_plain(_read_once)),
    "write": _on_device(_plain(_write_once)),
    "pread64": _on_device(_positional(_read_once)),
    "pwrite64": _on_device(_positional(_write_once)),
    "readv": _on_device(_vector(_read_once)),
    "writev": _on_device(_vector(_write_once)),
    "preadv": _on_device(_vector(_read_once, positional=True)),
    "pwritev": _on_device(_vector(_write_once, positional=True)),
    "preadv2": _on_device(_vector(_read_once, positional=True, flagged=True)),
    "pwritev2": _on_device(_vector(_write_once, positional=True, flagged=True)),
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
    "fgetxattr": _always(errno.ENODATA),
    "flistxattr": _on_device(lambda kernel, call, open_file: 0),
    "vmsplice": _always(errno.EBADF),
    "sendfile": _either_descriptor(0, 1),
    "tee": _either_descriptor(0, 1),
    "splice": _either_descriptor(0, 2),
    "copy_file_range": _either_descriptor(0, 2),
}
