"""Linux AIO, io_submit(2): requests that name a device.

A driver without `read_iter` and `write_iter` refuses to read and write by EINVAL; the socket that
stands for it would not. IOCB_CMD_POLL is left to the kernel: the socket shows what the driver's
poll says. For IOCB_CMD_FSYNC the driver's fsync runs first, then the client submits a request for
no bytes in its place, so that the kernel makes the event.

Fidelity: an fsync is done when io_submit returns, and one that fails is refused by its error
in place of an event that says so.

Source: fs/aio.c (io_submit_one, aio_prep_rw, aio_fsync)
"""

from __future__ import annotations

import errno
import os
import struct
from functools import partial
from typing import NamedTuple

from mapdev.host.core.waiting import WouldWait
from mapdev.host.embedded.calls.verdict import ANSWERED, PASS_ON, Handler, Result
from mapdev.host.embedded.files.open_file import OpenFile
from mapdev.host.embedded.inject.injection import Injection
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.inspect.maps import read_maps
from mapdev.linux.fs import FMODE_READ, FMODE_WRITE

IOCB_CMD_PREAD, IOCB_CMD_PWRITE, IOCB_CMD_FSYNC, IOCB_CMD_FDSYNC = range(4)
IOCB_CMD_PREADV, IOCB_CMD_PWRITEV = 7, 8
KIOCB_KEY = 0

_IOCB = struct.Struct("<QIiHhIQQqQII")  # struct iocb
_NEEDS = {
    IOCB_CMD_PREAD: FMODE_READ,
    IOCB_CMD_PREADV: FMODE_READ,
    IOCB_CMD_PWRITE: FMODE_WRITE,
    IOCB_CMD_PWRITEV: FMODE_WRITE,
}
_SYNCS = {IOCB_CMD_FSYNC: False, IOCB_CMD_FDSYNC: True}
_RW_FLAGS = 0x17  # RWF_HIPRI, DSYNC, SYNC, APPEND: allowed for a file that can't but wait
_MOST = 1 << 16  # requests that are looked at; /proc/sys/fs/aio-max-nr is as much


class _Request(NamedTuple):
    """A ``struct iocb`` of the client's, at address `at`."""

    at: int
    data: int
    key: int
    rw_flags: int
    opcode: int
    priority: int
    fd: int
    buf: int
    nbytes: int
    offset: int
    reserved2: int
    flags: int
    resfd: int

    def for_nothing(self) -> bytes:
        """Return a request for no bytes, whose event is otherwise that of this one."""
        return _IOCB.pack(*self._replace(opcode=IOCB_CMD_PREAD)[1:])

    def restored(self) -> bytes:
        """Return the request as the kernel leaves it."""
        return _IOCB.pack(*self._replace(key=KIOCB_KEY)[1:])


def _io_submit(kernel: Subsystems, call: Call) -> Result:
    if not len(kernel.files.table) or call.args[1] >> 63:
        return PASS_ON
    requests, refusal = _on_devices(kernel, call)
    if refusal is None and not requests:
        return PASS_ON
    if refusal is not None and refusal[0] == 0:
        if not _is_context(call):
            raise _error(errno.EINVAL)
        raise _error(refusal[1])
    if requests and not _is_context(call):
        return PASS_ON
    return _sync(kernel, call, requests, 0, None if refusal is None else refusal[0])


Syncs = list[tuple[_Request, OpenFile]]


def _on_devices(kernel: Subsystems, call: Call) -> tuple[Syncs, tuple[int, int] | None]:
    """Return what is to be synced, and which request is the first to be refused and by what."""
    syncs: Syncs = []
    _, count, pointers = call.args[:3]
    for index in range(min(count, _MOST)):
        try:
            at = int.from_bytes(call.read_user(pointers + 8 * index, 8), "little")
            raw = call.read_user(at, _IOCB.size)
        except OSError as error:
            if error.errno != errno.EFAULT:
                raise
            break  # the kernel will stop there, too
        request = _Request(at, *_IOCB.unpack(raw))
        open_file = kernel.files.table.at(call.tid, request.fd)
        if open_file is None:
            continue
        code = _refuse(open_file, request)
        if code:
            return syncs, (index, code)
        if request.opcode in _SYNCS:
            syncs.append((request, open_file))
    return syncs, None


def _refuse(open_file: OpenFile, request: _Request) -> int:
    """Return by which errno the kernel refuses a request on a device, 0 if it does not."""
    if request.reserved2 or request.nbytes >> 63:
        return errno.EINVAL
    if open_file.path_only:
        return errno.EBADF
    if request.opcode in _SYNCS:
        given = request.buf or request.offset or request.nbytes or request.rw_flags
        return errno.EINVAL if given or "fsync" not in open_file.device.has else 0
    needed = _NEEDS.get(request.opcode)
    if needed is None:
        return 0  # left to the kernel
    if request.rw_flags & ~_RW_FLAGS:
        return errno.EOPNOTSUPP
    return errno.EINVAL if open_file.file.f_mode & needed else errno.EBADF


def _is_context(call: Call) -> bool:
    """Say whether the first argument is a context of AIO, which is where its ring is mapped."""
    return any(area.start == call.args[0] and "[aio]" in area.path for area in read_maps(call.tid))


def _sync(kernel: Subsystems, call: Call, syncs: Syncs, done: int, end: int | None) -> Result:
    """Run the driver's fsync for each of `syncs` from `done` on, then have all submitted.

    :param end: how many requests are to be submitted; None for all.
    """
    while done < len(syncs):
        request, open_file = syncs[done]
        call.file, call.owner = open_file, open_file.device.owner
        try:
            kernel.operations.fsync(call, _SYNCS[request.opcode])
        except WouldWait as wait:
            wait.again = partial(_sync, kernel, call, syncs, done, end)
            raise
        done += 1
    why = "what it asks of a device by io_submit can't be done"
    with Injection(kernel.injector, call, why, own=True) as injection:
        context, count, pointers = call.args[:3]
        thread = injection.thread
        for request, _ in syncs:
            call.write_user(request.at, request.for_nothing())
        try:
            number = count if end is None else end
            injection.result = thread.syscall("io_submit", context, number, pointers)
        finally:
            for request, _ in syncs:
                call.write_user(request.at, request.restored())
    return ANSWERED


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


HANDLERS: dict[str, Handler] = {"io_submit": _io_submit}
