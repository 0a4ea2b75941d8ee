"""Handles reads and writes of a device: read, pread64, readv, preadv2, and the same for write.

A call is a `Transfer` of one or more pieces of the client's memory, each by one operation of the
driver. It stops at the first piece that is not filled. An operation that has to wait leaves the
transfer where it is, and it goes on from there. Data cross by process_vm_readv and
process_vm_writev, with no copy in between but one.

Source: fs/read_write.c
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from functools import partial

from mapdev.host.core.operations import Operations
from mapdev.host.core.waiting import WouldWait
from mapdev.host.embedded.calls.verdict import Result, signed32, signed64
from mapdev.host.embedded.files import OpenFile
from mapdev.host.embedded.kernel import Kernel
from mapdev.host.embedded.notify import Call
from mapdev.host.numbers import MAX_RW_COUNT, RWF_HIPRI, UIO_MAXIOV
from mapdev.linux.fs import FMODE_PREAD, FMODE_PWRITE, FMODE_READ, FMODE_WRITE

_IOVEC = struct.Struct("<QQ")

Once = Callable[[Operations, Call, int, int, int], int]
"""Transfers one piece, at an address of the client and an offset; returns how many bytes."""


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _read_once(operations: Operations, call: Call, buffer: int, count: int, pos: int) -> int:
    return operations.read(call, buffer, min(count, MAX_RW_COUNT), pos)


def _write_once(operations: Operations, call: Call, buffer: int, count: int, pos: int) -> int:
    return operations.write(call, buffer, min(count, MAX_RW_COUNT), pos)


class Transfer:
    """One call, from its first piece to its last.

    :param pieces: address and bytes of each piece of the client's memory.
    :param pos: offset in bytes, or None for the file's own position, which then moves.
    """

    __slots__ = ("_at", "_call", "_moves", "_once", "_operations", "_pieces", "total")

    def __init__(
        self,
        operations: Operations,
        call: Call,
        once: Once,
        pieces: list[tuple[int, int]],
        pos: int | None,
    ) -> None:
        self._operations = operations
        self._call = call
        self._once = once
        self._pieces = pieces  # those that are left
        self._moves = pos is None
        self._at = call.file.file.f_pos if pos is None else pos
        self.total = 0

    def run(self) -> int:
        """Transfer what is left; return the bytes of the whole call.

        :raises WouldWait: an operation has to wait; to be called again then.
        :raises OSError: the first operation failed.
        """
        while self._pieces:
            buffer, count = self._pieces[0]
            try:
                done = self._once(self._operations, self._call, buffer, count, self._at)
            except WouldWait as wait:
                wait.again, wait.so_far = self.run, self.total
                raise
            except OSError:
                if self.total:
                    break
                raise
            del self._pieces[0]
            self._at += done
            self.total += done
            if self._moves:
                self._call.file.file.f_pos = self._at
            if done < count:
                break
        return self.total


def _one_piece(
    operations: Operations, call: Call, once: Once, buffer: int, count: int, pos: int, moves: bool
) -> int:
    """Do what `Transfer.run` does when there is one piece, which is all or nothing."""
    try:
        done = once(operations, call, buffer, count, pos)
    except WouldWait as wait:
        wait.again = partial(_one_piece, operations, call, once, buffer, count, pos, moves)
        raise
    if moves:
        call.file.file.f_pos = pos + done
    return done


def _check(open_file: OpenFile, once: Once) -> None:
    """Check that the file is open for the transfer and that the driver can do it."""
    reading = once is _read_once
    if not open_file.file.f_mode & (FMODE_READ if reading else FMODE_WRITE):
        raise _error(errno.EBADF)
    if ("read" if reading else "write") not in open_file.device.has:
        raise _error(errno.EINVAL)


def _run(
    kernel: Kernel,
    call: Call,
    open_file: OpenFile,
    once: Once,
    pieces: list[tuple[int, int]],
    pos: int | None,
) -> Result:
    _check(open_file, once)
    operations = kernel.operations
    if len(pieces) == 1:
        at = open_file.file.f_pos if pos is None else pos
        return _one_piece(operations, call, once, *pieces[0], at, pos is None)
    return Transfer(operations, call, once, pieces, pos).run()


Operation = Callable[[Kernel, Call, OpenFile], Result]


def _plain(once: Once) -> Operation:
    """read(2), write(2)."""

    def operation(kernel: Kernel, call: Call, open_file: OpenFile) -> Result:
        _, buffer, count = call.args[:3]
        return _run(kernel, call, open_file, once, [(buffer, count)], None)

    return operation


def _positional(once: Once) -> Operation:
    """pread64(2), pwrite64(2)."""

    def operation(kernel: Kernel, call: Call, open_file: OpenFile) -> Result:
        _, buffer, count, offset = call.args[:4]
        pos = _position(open_file, once, offset)
        return _run(kernel, call, open_file, once, [(buffer, count)], pos)

    return operation


def _vector(once: Once, positional: bool = False, flagged: bool = False) -> Operation:
    """readv(2), writev(2), preadv(2), pwritev(2), preadv2(2), pwritev2(2)."""

    def operation(kernel: Kernel, call: Call, open_file: OpenFile) -> Result:
        _, vector, count, offset, _, flags = call.args
        pos: int | None = None
        if positional and not (flagged and signed64(offset) == -1):
            pos = _position(open_file, once, offset)
        _check(open_file, once)
        if flagged and signed32(flags) & ~RWF_HIPRI:
            raise _error(errno.EOPNOTSUPP)
        pieces = _read_iovecs(kernel, call, vector, count)
        return _run(kernel, call, open_file, once, pieces, pos)

    return operation


def _position(open_file: OpenFile, once: Once, offset: int) -> int:
    pos = signed64(offset)
    if pos < 0:
        raise _error(errno.EINVAL)
    wanted = FMODE_PREAD if once is _read_once else FMODE_PWRITE
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


OPERATIONS: dict[str, Operation] = {
    "read": _plain(_read_once),
    "write": _plain(_write_once),
    "pread64": _positional(_read_once),
    "pwrite64": _positional(_write_once),
    "readv": _vector(_read_once),
    "writev": _vector(_write_once),
    "preadv": _vector(_read_once, positional=True),
    "pwritev": _vector(_write_once, positional=True),
    "preadv2": _vector(_read_once, positional=True, flagged=True),
    "pwritev2": _vector(_write_once, positional=True, flagged=True),
}
"""By the name of the system call; for devices."""
