"""ioctl(2) on an open device: the commands that the kernel keeps for itself, in its order.

All others are the driver's. A node is on devtmpfs, which has blocks of 4 KiB and none of what files
on disks have.

Source: fs/ioctl.c (do_vfs_ioctl, vfs_ioctl), fs/super.c, fs/remap_range.c
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable

from mapdev.host.embedded.calls.verdict import PASS_ON, Result, signed32
from mapdev.host.embedded.files.open_file import OpenFile
from mapdev.host.embedded.libc import file_status
from mapdev.host.embedded.processes import descriptor_flags, has_capability
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.numbers import CAP_SYS_ADMIN
from mapdev.linux.numbers import PAGE_SIZE

FIOCLEX, FIONCLEX, FIONBIO, FIOASYNC, FIOQSIZE = 0x5451, 0x5450, 0x5421, 0x5452, 0x5460
FIGETBSZ = 2
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
FICLONE, FICLONERANGE, FIDEDUPERANGE = 0x40049409, 0x4020940D, 0xC0189436
FS_IOC_FIEMAP, FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR = 0xC020660B, 0x40086602, 0x401C5820

_BLOCK_SIZE = struct.pack("<i", PAGE_SIZE)
_CLONE_RANGE = struct.Struct("<q3Q")  # struct file_clone_range: src_fd and three lengths
_DEDUPE_RANGE = struct.Struct("<QQHHI")  # struct file_dedupe_range, without its list
_DEDUPE_INFO = 32  # bytes, sizeof(struct file_dedupe_range_info)
_FSXATTR = 28  # bytes, sizeof(struct fsxattr)

Command = Callable[[Subsystems, Call, OpenFile, int], Result | None]
"""Carries out a command of the kernel's with its argument; None leaves it to the driver."""


def ioctl(kernel: Subsystems, call: Call, open_file: OpenFile) -> Result:
    """Carry out ioctl(2)."""
    cmd, arg = call.args[1] & 0xFFFFFFFF, call.args[2]
    command = _COMMANDS.get(cmd)
    if command is not None:
        result = command(kernel, call, open_file, arg)
        if result is not None:
            return result
    if "ioctl" not in open_file.device.has:
        raise _error(errno.ENOTTY)  # of a device that is gone, too
    return kernel.operations.ioctl(call, cmd, arg)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _always(code: int) -> Command:
    def command(kernel: Subsystems, call: Call, open_file: OpenFile, arg: int) -> Result:
        raise _error(code)

    return command


def _by_the_kernel(kernel: Subsystems, call: Call, open_file: OpenFile, arg: int) -> Result:
    """Leave FIOCLEX and FIONCLEX to the kernel: they are about the descriptor."""
    return PASS_ON


def _set_nonblocking(kernel: Subsystems, call: Call, open_file: OpenFile, arg: int) -> Result:
    if any(call.read_user(arg, 4)):
        open_file.file.f_flags |= os.O_NONBLOCK
    else:
        open_file.file.f_flags &= ~os.O_NONBLOCK
    return 0


def _set_async(kernel: Subsystems, call: Call, open_file: OpenFile, arg: int) -> Result:
    """FIOASYNC: a change is the driver's business.

    Source: fs/ioctl.c (ioctl_fioasync)
    """
    on = int.from_bytes(call.read_user(arg, 4), "little", signed=True)
    if bool(on) != bool(open_file.file.f_flags & os.O_ASYNC):
        if "fasync" not in open_file.device.has:
            raise _error(errno.ENOTTY)
        kernel.operations.fasync(call.task, open_file, signed32(call.args[0]), on)
    return 0


def _block_size(kernel: Subsystems, call: Call, open_file: OpenFile, arg: int) -> Result:
    call.write_user(arg, _BLOCK_SIZE)
    return 0


def _privileged(code: int) -> Command:
    """FIFREEZE, FITHAW: fail with `code` for who may, since devtmpfs can't be frozen."""

    def command(kernel: Subsystems, call: Call, open_file: OpenFile, arg: int) -> Result:
        raise _error(code if has_capability(call.tid, CAP_SYS_ADMIN) else errno.EPERM)

    return command


def _clone(kernel: Subsystems, call: Call, open_file: OpenFile, arg: int) -> Result:
    return _clone_from(kernel, call, signed32(arg))


def _clone_range(kernel: Subsystems, call: Call, open_file: OpenFile, arg: int) -> Result:
    source = _CLONE_RANGE.unpack(call.read_user(arg, _CLONE_RANGE.size))[0]
    return _clone_from(kernel, call, signed32(source))


def _clone_from(kernel: Subsystems, call: Call, fd: int) -> Result:
    """Refuse to clone the file `fd` onto a device: only regular files can be."""
    source = kernel.files.table.at(call.tid, fd)
    if source is not None:
        raise _error(errno.EBADF if source.path_only else errno.EINVAL)
    path = f"/proc/{call.tid}/fd/{fd}"
    try:
        status = file_status(path)
        flags = descriptor_flags(call.tid, fd)
    except OSError:
        raise _error(errno.EBADF) from None
    if flags & os.O_PATH:
        raise _error(errno.EBADF)
    if status.st_dev != os.stat("/dev").st_dev:
        raise _error(errno.EXDEV)
    raise _error(errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL)


def _dedupe(kernel: Subsystems, call: Call, open_file: OpenFile, arg: int) -> Result:
    header = _DEDUPE_RANGE.unpack(call.read_user(arg, _DEDUPE_RANGE.size))
    size = _DEDUPE_RANGE.size + header[2] * _DEDUPE_INFO
    if size > PAGE_SIZE:
        raise _error(errno.ENOMEM)
    call.read_user(arg, size)
    raise _error(errno.EINVAL)  # no regular file


def _drivers_after(size: int) -> Command:
    """Leave a command to the driver if the `size` bytes of its argument are there."""

    def command(kernel: Subsystems, call: Call, open_file: OpenFile, arg: int) -> None:
        call.read_user(arg, size)

    return command


_COMMANDS: dict[int, Command] = {
    FIOCLEX: _by_the_kernel,
    FIONCLEX: _by_the_kernel,
    FIONBIO: _set_nonblocking,
    FIOASYNC: _set_async,
    FIOQSIZE: _always(errno.ENOTTY),
    FIFREEZE: _privileged(errno.EOPNOTSUPP),
    FITHAW: _privileged(errno.EINVAL),
    FS_IOC_FIEMAP: _always(errno.EOPNOTSUPP),
    FIGETBSZ: _block_size,
    FICLONE: _clone,
    FICLONERANGE: _clone_range,
    FIDEDUPERANGE: _dedupe,
    FS_IOC_SETFLAGS: _drivers_after(4),
    FS_IOC_FSSETXATTR: _drivers_after(_FSXATTR),
}
