"""Handles the ioctl commands of a client's own userfaultfd: a device's areas can't have one.

The host's own userfaultfd may be there, whose commands carry the secret and do not come here.

Source: fs/userfaultfd.c (userfaultfd_register, vma_can_userfault, find_dst_vma)
"""

from __future__ import annotations

import errno
import os
import struct

from mapdev.host.embedded.calls.verdict import Handler, Result
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.linux.numbers import PAGE_SIZE

_TYPE = 0xAA
_REGISTER, _UNREGISTER, _COPY, _ZEROPAGE = 0, 1, 3, 4
_MOVE, _WRITEPROTECT, _CONTINUE, _POISON = 5, 6, 7, 8
_TWO = struct.Struct("<QQ")
_THREE = struct.Struct("<QQQ")
_NAME = "anon_inode:[userfaultfd]"
# Where commands say how much they have done, in bytes from the start of their argument.
_DONE_AT = {_COPY: 32, _ZEROPAGE: 24, _CONTINUE: 24, _POISON: 24, _MOVE: 32}


def unless_userfaultfd(handle: Handler) -> Handler:
    """Make a handler of ioctl that looks at commands of a userfaultfd before `handle` does."""

    def ioctl(kernel: Subsystems, call: Call) -> Result:
        if call.args[1] >> 8 & 0xFF == _TYPE and kernel.spaces.by_tgid:
            _check(kernel, call)
        return handle(kernel, call)

    return ioctl


def _check(kernel: Subsystems, call: Call) -> None:
    """Refuse a command about a device's area.

    :raises OSError: EINVAL such an area is registered or unregistered; ENOENT pages of one, which
        is not registered, are to come, to be protected or to be moved; EFAULT the argument.
    """
    space = kernel.spaces.of(call.tid)
    number, argument = call.args[1] & 0xFF, call.args[2]
    known = {_REGISTER, _UNREGISTER, _WRITEPROTECT, *_DONE_AT}
    if space is None or number not in known or not _is_userfaultfd(call):
        return
    if number in (_COPY, _MOVE):
        start, _, length = _THREE.unpack(call.read_user(argument, _THREE.size))
    else:
        start, length = _TWO.unpack(call.read_user(argument, _TWO.size))
    if start % PAGE_SIZE or length % PAGE_SIZE or not length:
        return  # EINVAL
    if not space.overlapping(start, start + length):
        return
    if number in (_REGISTER, _UNREGISTER):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    if number in _DONE_AT:
        call.write_user(argument + _DONE_AT[number], struct.pack("<q", -errno.ENOENT))
    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))


def _is_userfaultfd(call: Call) -> bool:
    try:
        return os.readlink(f"/proc/{call.tid}/fd/{call.args[0] & 0xFFFFFFFF}") == _NAME
    except OSError:
        return False
