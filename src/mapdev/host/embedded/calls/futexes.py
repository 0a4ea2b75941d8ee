"""Handles futex calls on a device's memory: EFAULT, unless the futex is one process's own.

A futex that several processes may use is found by its page: one of a file or of anonymous memory. A
device's pages are neither. A private one is found by its address, so that the kernel does the rest.

Source: kernel/futex/core.c (get_futex_key), kernel/futex/syscalls.c
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct

from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Verdict
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.linux.numbers import VM_MAYSHARE, VM_PFNMAP, VM_WRITE

_PRIVATE = 128  # FUTEX_PRIVATE_FLAG, FUTEX2_PRIVATE
_COMMAND = 127
_REQUEUE, _CMP_REQUEUE, _WAKE_OP, _UNLOCK_PI = 3, 4, 5, 7
_WAIT_BITSET, _WAKE_BITSET, _WAIT_REQUEUE_PI, _CMP_REQUEUE_PI = 9, 10, 11, 12
_ON_TWO = (_REQUEUE, _CMP_REQUEUE, _WAKE_OP, _WAIT_REQUEUE_PI, _CMP_REQUEUE_PI)
_TID_MASK = 0x3FFFFFFF
_WORD = 4  # bytes
_WAITV = struct.Struct("<QQII")  # struct futex_waitv: value, address, flags, reserved
_MOST = 128  # FUTEX_WAITV_MAX


def _check(kernel: Subsystems, call: Call, addr: int) -> None:
    """Refuse a futex at `addr` that is not private, if a device's memory is there.

    :raises OSError: EFAULT it has no key.
    """
    space = kernel.spaces.of(call.tid)
    area = space.find(addr) if space is not None else None
    if area is None or addr % _WORD:
        return  # the kernel says EINVAL
    flags = area.vm_flags
    if not flags & (VM_MAYSHARE | VM_PFNMAP):
        return  # a copy of its own, or soon to be one
    if not flags & VM_PFNMAP:
        with contextlib.suppress(OSError):
            kernel.mappings.bring_in(call.tid, addr, _WORD, bool(flags & VM_WRITE))
    raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))


def _do_futex(kernel: Subsystems, call: Call) -> Verdict:
    addr, operation, _, _, second, mask = call.args
    command = operation & _COMMAND
    if operation & _PRIVATE or (command in (_WAIT_BITSET, _WAKE_BITSET) and not mask & 0xFFFFFFFF):
        return PASS_ON
    if command == _UNLOCK_PI and not _is_held(call, addr):
        return PASS_ON  # EPERM: that is looked at first
    _check(kernel, call, addr)
    if command in _ON_TWO:
        _check(kernel, call, second)
    return PASS_ON


def _is_held(call: Call, addr: int) -> bool:
    try:
        word = int.from_bytes(call.read_user(addr, _WORD), "little")
    except OSError:
        return False
    return word & _TID_MASK == call.tid


def _do_futex2(kernel: Subsystems, call: Call) -> Verdict:
    if not call.args[3] & _PRIVATE:
        _check(kernel, call, call.args[0])
    return PASS_ON


def _do_list(kernel: Subsystems, call: Call, count: int) -> Verdict:
    if not 0 < count <= _MOST:
        return PASS_ON
    try:
        raw = call.read_user(call.args[0], count * _WAITV.size)
    except OSError:
        return PASS_ON
    if len(raw) == count * _WAITV.size:
        for _, addr, flags, reserved in _WAITV.iter_unpack(raw):
            if reserved:
                break  # EINVAL
            if not flags & _PRIVATE:
                _check(kernel, call, addr)
    return PASS_ON


HANDLERS: dict[str, Handler] = {
    "futex": _do_futex,
    "futex_wake": _do_futex2,
    "futex_wait": _do_futex2,
    "futex_waitv": lambda kernel, call: _do_list(kernel, call, call.args[1] & 0xFFFFFFFF),
    "futex_requeue": lambda kernel, call: _do_list(kernel, call, 2),
}
