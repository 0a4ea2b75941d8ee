"""Handles reads and writes of a device: read, pread64, readv, preadv2, and the same for write.

A call is a `Transfer` of one or more pieces of the client's memory, each by one operation of the
driver. It stops at the first piece that is not filled. An operation that has to wait leaves the
transfer where it is, and it goes on from there. Data cross by process_vm_readv and
process_vm_writev, with no copy in between but one.

What is checked before the driver is asked, in this order: the mode of the file, whether addresses
are a program's (access_ok), whether offset and count overflow (rw_verify_area). Whether there is
memory at an address is found out after that, by the copying.

Source: fs/read_write.c, lib/iov_iter.c (import_iovec)
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from functools import partial

from mapdev.host.core.operations import Operations
from mapdev.host.core.waiting import WouldWait
from mapdev.host.embedded.arch import NAME_OF
from mapdev.host.embedded.calls.verdict import Result, signed32, signed64
from mapdev.host.embedded.files.open_file import OpenFile
from mapdev.host.embedded.files.shadows import Shadows
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.numbers import MAX_RW_COUNT, RWF_HIPRI, UIO_MAXIOV
from mapdev.linux.fs import FMODE_PREAD, FMODE_PWRITE, FMODE_READ, FMODE_STREAM, FMODE_WRITE
from mapdev.linux.numbers import PAGE_SIZE
from mapdev.linux.uaccess import access_ok

_IOVEC = struct.Struct("<QQ")
_LLONG_MAX = (1 << 63) - 1

Once = Callable[[Operations, Call, int, int, int], int]
"""Transfers one piece, at an address of the client and an offset; returns how many bytes."""


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _read_once(operations: Operations, call: Call, buffer: int, count: int, pos: int) -> int:
    return operations.read(call, buffer, count, pos)


def _write_once(operations: Operations, call: Call, buffer: int, count: int, pos: int) -> int:
    return operations.write(call, buffer, count, pos)


class Transfer:
    """One call, from its first piece to its last.

    :param pieces: address and bytes of each piece of the client's memory; not all are empty.
    :param pos: offset in bytes, or None for the file's own position, which then moves.
    """

    __slots__ = ("_at", "_call", "_left", "_moves", "_once", "_operations", "_pieces", "total")

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
        self._pieces = pieces  # those that are not done yet
        self._left = sum(count for _, count in pieces)
        self._moves = pos is None and not _is_stream(call)
        self._at = call.file.file.f_pos if pos is None else pos
        self.total = 0

    def run(self) -> int:
        """Transfer what is left; return the bytes of the whole call.

        :raises WouldWait: an operation has to wait; to be called again then.
        :raises OSError: the first operation failed.
        """
        while self._left:
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
            self.total += done
            if not _is_stream(self._call):
                self._at += done
            if self._moves:
                self._call.file.file.f_pos = self._at
            if done < count:
                break
            self._advance()
        return self.total

    def _advance(self) -> None:
        """Go to the next piece that has bytes, as iov_iter_advance does: the first need not."""
        self._left -= self._pieces.pop(0)[1]
        while self._left and not self._pieces[0][1]:
            del self._pieces[0]


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


def _is_stream(call: Call) -> bool:
    """Say whether the file has no position at all: it stays 0 (file_ppos)."""
    return bool(call.file.file.f_mode & FMODE_STREAM)


def _check(open_file: OpenFile, once: Once) -> None:
    """Check that the file is open for the transfer and that the driver can do it."""
    reading = once is _read_once
    if not open_file.file.f_mode & (FMODE_READ if reading else FMODE_WRITE):
        raise _error(errno.EBADF)
    if ("read" if reading else "write") not in open_file.device.has:
        raise _error(errno.EINVAL)


def _verify_area(call: Call, pos: int, count: int) -> None:
    """Check that `pos` and `count` do not overflow when they are added up (rw_verify_area)."""
    if pos + count > _LLONG_MAX and not _is_stream(call):
        raise _error(errno.EINVAL)


def _run(
    kernel: Subsystems,
    call: Call,
    open_file: OpenFile,
    once: Once,
    buffer: int,
    count: int,
    pos: int | None,
) -> Result:
    """Transfer one piece (vfs_read, vfs_write)."""
    _check(open_file, once)
    if not access_ok(buffer, count):
        raise _error(errno.EFAULT)
    at = open_file.file.f_pos if pos is None else pos
    _verify_area(call, at, count)
    moves = pos is None and not _is_stream(call)
    return _one_piece(kernel.operations, call, once, buffer, min(count, MAX_RW_COUNT), at, moves)


Operation = Callable[[Subsystems, Call, OpenFile], Result]


def _plain(once: Once) -> Operation:
    """read(2), write(2)."""

    def operation(kernel: Subsystems, call: Call, open_file: OpenFile) -> Result:
        _, buffer, count = call.args[:3]
        return _run(kernel, call, open_file, once, buffer, count, None)

    return operation


def _positional(once: Once) -> Operation:
    """pread64(2), pwrite64(2)."""

    def operation(kernel: Subsystems, call: Call, open_file: OpenFile) -> Result:
        _, buffer, count, offset = call.args[:4]
        pos = _position(open_file, once, offset)
        return _run(kernel, call, open_file, once, buffer, count, pos)

    return operation


def _vector(once: Once, positional: bool = False, flagged: bool = False) -> Operation:
    """readv(2), writev(2), preadv(2), pwritev(2), preadv2(2), pwritev2(2)."""

    def operation(kernel: Subsystems, call: Call, open_file: OpenFile) -> Result:
        _, vector, count, offset, _, flags = call.args
        pos: int | None = None
        if positional and not (flagged and signed64(offset) == -1):
            pos = _position(open_file, once, offset)
        _check(open_file, once)
        pieces = import_iovec(kernel, call, vector, count)
        total = sum(length for _, length in pieces)
        if not total:
            return 0
        _verify_area(call, open_file.file.f_pos if pos is None else pos, total)
        if flagged and signed32(flags) & ~RWF_HIPRI:
            raise _error(errno.EOPNOTSUPP)  # the rest is for drivers with read_iter, write_iter
        if once is _write_once and not open_file.device.is_character_device and len(pieces) > 1:
            return _write_together(kernel.operations, call, pieces, pos)
        return Transfer(kernel.operations, call, once, pieces, pos).run()

    return operation


def _write_together(
    operations: Operations, call: Call, pieces: list[tuple[int, int]], pos: int | None
) -> int:
    """Write the pieces of a vector to the file of an attribute by one operation.

    Source: fs/kernfs/file.c (kernfs_fop_write_iter)
    """
    data = b""
    for buffer, count in pieces:
        piece = call.take_data(buffer, min(count, PAGE_SIZE - len(data))) if count else b""
        data += piece
        if len(piece) < count:
            break
    if not data:
        raise _error(errno.EFAULT)
    file = call.file.file
    taken = operations.write_data(call, data, file.f_pos if pos is None else pos)
    if pos is None:
        file.f_pos += taken
    return taken


def _position(open_file: OpenFile, once: Once, offset: int) -> int:
    """Return the offset of a positional transfer."""
    pos = signed64(offset)
    if pos < 0:
        raise _error(errno.EINVAL)
    if open_file.path_only:
        raise _error(errno.EBADF)
    wanted = FMODE_PREAD if once is _read_once else FMODE_PWRITE
    if not open_file.file.f_mode & wanted:
        raise _error(errno.ESPIPE)
    return pos


def import_iovec(kernel: Subsystems, call: Call, address: int, count: int) -> list[tuple[int, int]]:
    """Return the pieces of a vector in the client, cut to what one call may transfer.

    :raises OSError: EINVAL there are too many or one has a negative length, EFAULT the vector is
        not there or a piece reaches beyond the addresses that a program may have.
    """
    if count > UIO_MAXIOV:
        raise _error(errno.EINVAL)
    size = count * _IOVEC.size
    raw = kernel.machine.read_user(call.tid, address, size) if size else b""
    if len(raw) < size:
        raise _error(errno.EFAULT)
    pieces = list(_IOVEC.iter_unpack(raw))
    if any(signed64(length) < 0 for _, length in pieces):
        raise _error(errno.EINVAL)
    room = MAX_RW_COUNT
    for at, (buffer, length) in enumerate(pieces):
        if not access_ok(buffer, length):
            raise _error(errno.EFAULT)
        pieces[at] = buffer, min(length, room)
        room -= pieces[at][1]
    return pieces


OPERATIONS: dict[str, Operation] = {
    "read": _plain(_read_once),
    "write": _plain(_write_once),
    "readv": _vector(_read_once),
    "writev": _vector(_write_once),
}
"""By the name of the system call; for devices."""

POSITIONAL: dict[str, Operation] = {
    "pread64": _positional(_read_once),
    "pwrite64": _positional(_write_once),
    "preadv": _vector(_read_once, positional=True),
    "pwritev": _vector(_write_once, positional=True),
    "preadv2": _vector(_read_once, positional=True, flagged=True),
    "pwritev2": _vector(_write_once, positional=True, flagged=True),
}
"""Those that look at their offset before the descriptor; for O_PATH, too."""


_VECTORS = ("readv", "preadv", "preadv2", "writev", "pwritev", "pwritev2")
_READS = ("read", "pread64", "readv", "preadv", "preadv2")
_WRITES = ("write", "pwrite64", "writev", "pwritev", "pwritev2")


def tell_watchers(shadows: Shadows, call: Call, result: object) -> None:
    """Tell who watches the file of `call` that it was read or written, if it was.

    Source: fs/read_write.c (vfs_read, vfs_readv): of vectors zero bytes count as well
    """
    name = NAME_OF.get(call.nr, "")
    if type(result) is not int or result < (name not in _VECTORS):
        return
    if name in _READS:
        shadows.accessed(call.file)
    elif name in _WRITES:
        shadows.modified(call.file)
