"""Calls that lock a node: flock, and fcntl with F_SETLK, F_OFD_SETLK and their kin.

Source: fs/locks.c (flock, fcntl_setlk, fcntl_getlk, flock_to_posix_lock)
Fidelity: processes that share their descriptors (CLONE_FILES without CLONE_THREAD) are several
owners; a lock of flock that was dropped for another is lost if a signal ends the wait, as there.
"""

from __future__ import annotations

import errno
import os
import struct
from fcntl import (
    F_GETLK,
    F_OFD_GETLK,
    F_OFD_SETLK,
    F_OFD_SETLKW,
    F_RDLCK,
    F_SETLKW,
    F_UNLCK,
    F_WRLCK,
    LOCK_EX,
    LOCK_NB,
    LOCK_SH,
    LOCK_UN,
)
from functools import partial
from typing import NamedTuple

from mapdev.host.core.locks import OFFSET_MAX, NodeLocks, Record
from mapdev.host.core.waiting import WouldWait
from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Result
from mapdev.host.embedded.files.open_file import OpenFile
from mapdev.host.embedded.processes import tgid_of
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.numbers import UINT_MAX
from mapdev.linux.fs import FMODE_READ, FMODE_WRITE

_OF_OPEN_FILES = (F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW)
_LOCK_MAND = 32
_MODES = FMODE_READ | FMODE_WRITE


class _Flock(NamedTuple):
    """``struct flock``."""

    type: int
    whence: int
    start: int
    length: int
    pid: int


_LAYOUT = struct.Struct("<hh4xqqi4x")


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _wait(call: Call, locks: NodeLocks) -> WouldWait:
    call.begun = None  # no operation of the driver waits
    return WouldWait(locks)


# --- flock --------------------------------------------------------------------------------------


def _do_flock(kernel: Subsystems, call: Call) -> Result:
    """flock(2)."""
    open_file = kernel.files.of(call)
    if open_file is None:
        return PASS_ON
    operation = call.args[1] & UINT_MAX
    if operation & _LOCK_MAND:
        return 0  # of the past
    kind = operation & ~LOCK_NB
    if kind not in (LOCK_SH, LOCK_EX, LOCK_UN):
        raise _error(errno.EINVAL)
    if open_file.path_only or (kind != LOCK_UN and not open_file.file.f_mode & _MODES):
        raise _error(errno.EBADF)
    if kind == LOCK_UN:
        if kernel.locks.of(open_file.device).whole.pop(open_file, None) is not None:
            kernel.locks.wake(open_file.device)
        return 0
    return _flock(kernel, call, open_file, kind == LOCK_EX, not operation & LOCK_NB)


def _flock(
    kernel: Subsystems, call: Call, open_file: OpenFile, is_write: bool, may_wait: bool
) -> int:
    locks = kernel.locks.of(open_file.device)
    before = locks.whole.get(open_file)
    if before == is_write:
        return 0
    if before is not None:  # it is dropped first, also if the other can't be had
        del locks.whole[open_file]
        kernel.locks.wake(open_file.device)
    if locks.keeps_whole_from(open_file, is_write):
        if not may_wait:
            raise _error(errno.EAGAIN)
        wait = _wait(call, locks)
        wait.again = partial(_flock, kernel, call, open_file, is_write, may_wait)
        raise wait
    locks.whole[open_file] = is_write
    return 0


# --- record locks -------------------------------------------------------------------------------


def do_record_lock(kernel: Subsystems, call: Call, open_file: OpenFile, command: int) -> int:
    """Carry out F_GETLK, F_SETLK, F_SETLKW or the like for open files (F_OFD_*).

    :raises OSError: EFAULT; EINVAL, EOVERFLOW the range is none; EBADF the file is not open for
        such a lock; EAGAIN another has it; EDEADLK waiting would never end.
    """
    flock = _Flock._make(_LAYOUT.unpack(call.read_user(call.args[2], _LAYOUT.size)))
    is_query = command in (F_GETLK, F_OFD_GETLK)
    if is_query and flock.type not in (F_RDLCK, F_WRLCK):
        raise _error(errno.EINVAL)
    first, last = _range(open_file, flock)
    if flock.type not in (F_RDLCK, F_WRLCK, F_UNLCK):
        raise _error(errno.EINVAL)
    is_write = flock.type == F_WRLCK
    needed = 0 if is_query or flock.type == F_UNLCK else FMODE_WRITE if is_write else FMODE_READ
    if open_file.file.f_mode & needed != needed:
        raise _error(errno.EBADF)
    if command in _OF_OPEN_FILES:
        if flock.pid:
            raise _error(errno.EINVAL)
        wanted = Record(open_file, first, last, is_write)
    else:
        process = tgid_of(call.tid)
        wanted = Record(process, first, last, is_write, process)
    if is_query:
        return _query(kernel, call, open_file, flock, wanted)
    if flock.type == F_UNLCK:
        if kernel.locks.of(open_file.device).remove(wanted):
            kernel.locks.wake(open_file.device)
        return 0
    return _set(kernel, call, open_file, wanted, command in (F_SETLKW, F_OFD_SETLKW))


def _range(open_file: OpenFile, flock: _Flock) -> tuple[int, int]:
    """Return the first and the last byte that are meant."""
    origins = (0, open_file.file.f_pos, open_file.device.inode.i_size)  # by SEEK_*
    if not 0 <= flock.whence < len(origins):
        raise _error(errno.EINVAL)
    first = origins[flock.whence] + flock.start
    if first > OFFSET_MAX:
        raise _error(errno.EOVERFLOW)
    if first < 0:
        raise _error(errno.EINVAL)
    if flock.length > 0:
        if first + flock.length - 1 > OFFSET_MAX:
            raise _error(errno.EOVERFLOW)
        return first, first + flock.length - 1
    if flock.length < 0:
        if first + flock.length < 0:
            raise _error(errno.EINVAL)
        return first + flock.length, first - 1
    return first, OFFSET_MAX


def _query(
    kernel: Subsystems, call: Call, open_file: OpenFile, flock: _Flock, wanted: Record
) -> int:
    """Tell the client which lock is in the way, if one is."""
    found = kernel.locks.of(open_file.device).blocker(wanted)
    if found is None:
        answer = flock._replace(type=F_UNLCK)
    else:
        length = 0 if found.last == OFFSET_MAX else found.last - found.first + 1
        kind = F_WRLCK if found.is_write else F_RDLCK
        answer = _Flock(kind, os.SEEK_SET, found.first, length, found.pid)
    call.write_user(call.args[2], _LAYOUT.pack(*answer))
    return 0


def _set(
    kernel: Subsystems, call: Call, open_file: OpenFile, wanted: Record, may_wait: bool
) -> int:
    locks = kernel.locks
    node = locks.of(open_file.device)
    process = wanted.owner if isinstance(wanted.owner, int) else None
    if process is not None:
        locks.waits_no_more(process)
    found = node.blocker(wanted)
    if found is not None:
        if not may_wait:
            raise _error(errno.EAGAIN)
        wait = _wait(call, node)
        wait.again = partial(_set, kernel, call, open_file, wanted, may_wait)
        if process is not None and isinstance(found.owner, int):
            if locks.is_deadlock(process, found.owner):
                raise _error(errno.EDEADLK)
            locks.waits_for[process] = found.owner
            wait.abandon = partial(locks.waits_no_more, process)
        raise wait
    if process is not None:
        locks.watch(process)
    had_more = any(
        record.owner == wanted.owner and record.is_write and record.overlaps(wanted)
        for record in node.records
    )
    node.add(wanted)
    if had_more and not wanted.is_write:
        locks.wake(open_file.device)  # others may read, too
    return 0


HANDLERS: dict[str, Handler] = {"flock": _do_flock}
