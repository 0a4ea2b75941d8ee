"""`KernelCall` is a request of the module that waits for a reply; `KernelClient` made the call.

What a driver reads of the client's memory is had from what came with the request, if that is
enough; what it writes goes out with the answer, if it can. Everything else the client does itself
while it waits (`commands`). Used under the host's lock.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from mapdev.host.core.call import Call
from mapdev.host.core.client import Client
from mapdev.host.core.operations import Operations
from mapdev.host.kernel import request as at
from mapdev.host.kernel import uapi
from mapdev.host.kernel.commands import Commands, Outcome
from mapdev.host.kernel.control import Control
from mapdev.host.kernel.request import Got
from mapdev.linux.errnos import ERESTARTSYS
from mapdev.linux.fs import FMODE_PREAD, FMODE_PWRITE, FMODE_STREAM, File
from mapdev.linux.ioctl_numbers import _IOC_SIZE
from mapdev.linux.vma import VmAreaStruct

__all__ = ["ANSWERED", "CallHost", "KernelCall", "KernelClient"]

ANSWERED = object()
"""Returned by a handler that has answered its call itself."""


class CallHost(Protocol):
    """The interface of the host that a `KernelCall` uses."""

    control: Control
    commands: Commands
    operations: Operations

    def file_of(self, number: int) -> File | None:
        """Find an open file of a device by the module's number."""

    def known_area(self, number: int) -> VmAreaStruct | None:
        """Find an area of this session by the module's number; None for others."""

    def install_file(
        self, call: KernelCall, name: str, driver: Any, private_data: Any, flags: int
    ) -> int:
        """Open a file without a node in the client of `call`."""


class KernelCall(Call):
    """A request of the module that its client waits for.

    :ivar got: struct mapdev_request, see `Got`.
    :ivar payload: what came with it: the data of a write, the structure of an ioctl.
    """

    __slots__ = ("_in_addr", "_out", "got", "host", "id", "payload", "tid")

    _out: tuple[int, Any] | None

    def __init__(self, host: CallHost, got: Got, payload: bytes) -> None:
        # Without the constructor of Context: one is made for each call.
        self.machine = host.operations.machine
        self.owner = None  # until its file is known
        self.resumed = None
        self._client = None
        self.host = host
        self.got = got
        self.id: int = got[at.ID]
        self.tid = got[at.PID]
        self.payload = payload
        self._out = None
        if not payload:
            self._in_addr = -1
        elif got[at.OP] == uapi.IOCTL:
            self._in_addr = got[at.ARG1] if got[at.FLAGS] & uapi.ARG_COPIED else -1
        else:
            self._in_addr = got[at.ARG2]

    def make_client(self) -> KernelClient:
        """Return the thread that made the call."""
        return KernelClient(self)

    # --- the client's memory ----------------------------------------------------------------

    def read_user(self, addr: int, size: int) -> bytes:
        """Return `size` bytes of the client's memory; EFAULT when not all of it is readable."""
        if self._out is not None:
            self.flush()
        start = addr - self._in_addr
        if self._in_addr >= 0 and 0 <= start <= len(self.payload) - size:
            return self.payload[start : start + size]
        data = self._read_now(addr, size)
        if len(data) < size:
            raise OSError(errno.EFAULT, f"{addr + len(data):#x} is not readable")
        return data

    def take_data(self, addr: int, count: int) -> bytes:
        """Return what a write hands to the driver: the bytes at `addr` up to one not readable."""
        if len(self.payload) == count:
            return self.payload
        return self._read_now(addr, count)

    def _read_now(self, addr: int, size: int) -> bytes:
        """Have the client copy `size` bytes; return those before one that is not readable."""
        slot_size = self.host.control.slot_size
        pieces = []
        for start in range(0, size, slot_size):
            length = min(size - start, slot_size)
            outcome = self.run(uapi.COPY_FROM, addr + start, length)
            pieces.append(outcome.payload[: outcome.result])
            if outcome.result < length:
                break
        return b"".join(pieces)

    def write_user(self, addr: int, data: Any) -> None:
        """Write the client's memory; EFAULT when not all of it is writable."""
        if self._out is not None:
            self.flush()
        if self._goes_with_the_answer(addr, len(data)):
            self._out = addr, data
        else:
            self._write_all(addr, data)

    def _goes_with_the_answer(self, addr: int, size: int) -> bool:
        got = self.got
        if size > self.host.control.slot_size:
            return False
        if got[at.OP] == uapi.READ:
            return bool(addr == got[at.ARG2])
        start = got[at.ARG1]
        return bool(
            got[at.FLAGS] & uapi.ARG_WRITABLE
            and start <= addr
            and addr + size <= start + _IOC_SIZE(got[at.ARG0])
        )

    def put_data(self, addr: int, data: Any) -> int:
        """Copy what a read gave to `addr`; return how many bytes arrived.

        All of them, if they go out with the answer: then the module sees how many fit, and makes
        of it what `Operations.cut` does.
        """
        if self._goes_with_the_answer(addr, len(data)):
            self._out = addr, data
            return len(data)
        return self._write_now(addr, data)

    def _write_now(self, addr: int, data: Any) -> int:
        """Have the client copy `data`; return how many bytes come before one not writable."""
        self._in_addr = -1  # what came with the call may not be true any more
        slot_size = self.host.control.slot_size
        for start in range(0, len(data), slot_size):
            piece = bytes(data[start : start + slot_size])
            outcome = self.run(uapi.COPY_TO, addr + start, len(piece), piece)
            if outcome.result < len(piece):
                return start + outcome.result
        return len(data)

    def _write_all(self, addr: int, data: Any) -> None:
        arrived = self._write_now(addr, data)
        if arrived < len(data):
            raise OSError(errno.EFAULT, f"{addr + arrived:#x} is not writable")

    def give(self, data: bytes) -> int:
        """Have `data` go out with the answer, for the kernel; return how many bytes that is."""
        self._out = (0, data) if data else None
        return len(data)

    def flush(self) -> None:
        """Write now what was to go out with the answer, since something else comes before that."""
        if self._out is not None:
            (addr, data), self._out = self._out, None
            self._write_all(addr, data)

    def run(self, kind: int, addr: int, length: int, data: bytes = b"") -> Outcome:
        """Have the client do something; see `Commands.run`."""
        if not self.id:
            raise OSError(errno.EFAULT, "the client does not wait: its memory is out of reach")
        return self.host.commands.run(self.id, kind, addr, length, data)

    # --- the answer -------------------------------------------------------------------------

    def finish(self, result: Any) -> None:
        """Answer with what a handler returned, unless nobody waits or it has answered."""
        if self.id and result is not ANSWERED:
            self.answer(result)

    def answer(self, result: int) -> None:
        """Make the call return `result`, with what the driver wrote and the file's position."""
        op, flags, pos = self.got[at.OP], 0, 0
        if op in _MOVES:
            flags, pos = uapi.REPLY_POS, _MOVES[op](self.got, result)
        elif op == uapi.OPEN:
            flags = _open_flags(self.file.file.f_mode)
        elif op == uapi.POLL:
            self.host.control.answer(self.id, result, flags=uapi.REPLY_SHOW, mask=result)
            return
        answer = self.host.control.answer
        if self._out is not None:
            addr, data = self._out
            if answer(self.id, result, data, flags, addr, pos):
                return
            self._out = None
            if op in (uapi.ATTR_SHOW, uapi.BIN_READ):
                self.host.control.answer_in_time(self.id, result, data)
                return
            try:
                arrived = self._write_now(addr, data)
                if arrived < len(data):
                    result = self.host.operations.cut(self.file, arrived if op == uapi.READ else 0)
                    pos = self.got[at.ARG1] + result
            except OSError as error:
                self.fail(error.errno or errno.EFAULT)
                return
        answer(self.id, result, b"", flags, 0, pos)

    def fail(self, code: int) -> None:
        """Make the call fail with errno `code`; what the operation wrote before stays written."""
        if self.id:
            try:
                self.flush()
            except OSError as error:
                code = error.errno or errno.EFAULT
            self.host.control.answer(self.id, -code)

    def is_waited_for(self) -> bool:
        """Say whether the client still waits."""
        return self.host.control.is_waited_for(self.id)

    def parked(self) -> None:
        """Tell the module that the call waits, so that it tells of signals for the client."""
        self.host.control.keep_waiting(self.id)

    def unparked(self) -> None:
        """Nothing was kept."""

    def interrupt(self) -> None:
        """Let the client go on with its signal."""
        self.fail(ERESTARTSYS)
        self.host.operations.interrupted(self)


_MOVES: dict[int, Callable[[Got, int], int]] = {
    uapi.READ: lambda got, result: got[at.ARG1] + result,
    uapi.WRITE: lambda got, result: got[at.ARG1] + result,
    uapi.LLSEEK: lambda got, result: result,
}
"""The file's position after an operation that moves it."""


def _open_flags(f_mode: int) -> int:
    """Return what the module has to know of the mode that the open operation chose."""
    if f_mode & FMODE_STREAM:
        return uapi.REPLY_STREAM
    return 0 if f_mode & (FMODE_PREAD | FMODE_PWRITE) else uapi.REPLY_NONSEEKABLE


class KernelClient(Client):
    """The thread that made a call."""

    __slots__ = ("_call",)

    def __init__(self, call: KernelCall) -> None:
        self.pid, self._tgid = call.got[at.PID], call.got[at.TGID]
        self.flags = 0
        self._mm = None
        self._call = call

    @property
    def comm(self) -> str:
        """The command's name."""
        try:
            return Path(f"/proc/{self.pid}/comm").read_text().rstrip("\n")
        except OSError:
            return ""

    def read(self, addr: int, size: int) -> bytes:
        """Return `size` bytes at `addr`."""
        return self._call.read_user(addr, size)

    def write(self, addr: int, data: Any) -> None:
        """Write `data` at `addr`."""
        self._call.write_user(addr, data)

    def areas(self) -> list[VmAreaStruct]:
        """Return its areas: as they are now, sorted, linked."""
        self._call.flush()
        found: list[VmAreaStruct] = []
        cursor = 0
        while True:
            outcome = self._call.run(uapi.AREAS, cursor, 0)
            if not outcome.result:
                break
            infos = (uapi.AreaInfo * outcome.result).from_buffer_copy(outcome.payload)
            found += [self._area(info) for info in infos]
            cursor = found[-1].vm_end
        for before, area in zip([None, *found], found, strict=False):
            area.vm_prev, area.vm_next, area.vm_mm = before, None, self.mm
            if before is not None:
                before.vm_next = area
        return found

    def _area(self, info: uapi.AreaInfo) -> VmAreaStruct:
        vma = info.vma
        area = self._call.host.known_area(info.area) if info.area else None
        if area is None:
            area = VmAreaStruct(vma.vm_start, vma.vm_end, vma.vm_pgoff, vma.vm_flags)
            area.vm_file = self._call.host.file_of(info.file) if info.file else None
            return area
        area.vm_start, area.vm_end, area.vm_pgoff = vma.vm_start, vma.vm_end, vma.vm_pgoff
        area.vm_flags = vma.vm_flags
        return area

    def install_file(self, name: str, driver: Any, private_data: Any, flags: int) -> int:
        """Open a file without a node in the process."""
        self._call.flush()
        return self._call.host.install_file(self._call, name, driver, private_data, flags)
