"""A client whose call is being handled, as drivers see it: `current()`.

What it is asked for is had from what came with the call, if that is enough, and from the client
itself otherwise (`commands`). A structure that an ioctl hands back goes out with its reply.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from mapdev.host.kernel import uapi
from mapdev.host.kernel.commands import Commands, Outcome
from mapdev.host.kernel.control import Request
from mapdev.linux.ioctl_numbers import _IOC_SIZE
from mapdev.linux.mm import TaskStruct
from mapdev.linux.vma import VmAreaStruct

Known = Any  # finds an area of ours by its number; None for others


class ClientTask(TaskStruct):
    """The thread that made a call.

    :ivar payload: what came with the call.
    :ivar out: address and bytes of what goes out with the reply, or None.
    """

    __slots__ = ("_argument", "_at_a_time", "_commands", "_known", "out", "payload", "request")

    def __init__(
        self, request: Request, payload: bytes, commands: Commands, at_a_time: int, known: Known
    ) -> None:
        # Not by way of TaskStruct's own: one is made for each call.
        self.pid, self._tgid = request.pid, request.tgid
        self.flags = 0
        self._mm = None
        self.request = request
        self.payload = payload
        self.out: tuple[int, bytes] | None = None
        self._commands = commands
        self._at_a_time = at_a_time
        self._known = known
        self._argument = payload if request.flags & uapi.ARG_COPIED else b""

    @property
    def comm(self) -> str:
        """The command's name."""
        try:
            return Path(f"/proc/{self.pid}/comm").read_text().rstrip("\n")
        except OSError:
            return ""

    def _do(self, kind: int, addr: int, length: int, data: bytes = b"") -> Outcome:
        if not self.request.id:
            raise OSError(errno.EFAULT, "the client does not wait: its memory is out of reach")
        return self._commands.run(self.request.id, kind, addr, length, data)

    def read(self, addr: int, size: int) -> bytes:
        """Return `size` bytes of its memory.

        :raises OSError: EFAULT not all of it is there.
        """
        self.flush()
        at = addr - self.request.arg[1]
        if at >= 0 and at + size <= len(self._argument):
            return self._argument[at : at + size]
        pieces = []
        for start in range(0, size, self._at_a_time):
            length = min(size - start, self._at_a_time)
            outcome = self._do(uapi.COPY_FROM, addr + start, length)
            if outcome.result < length:
                raise OSError(errno.EFAULT, f"{addr + start + outcome.result:#x} is not readable")
            pieces.append(outcome.payload[:length])
        return b"".join(pieces)

    def write(self, addr: int, data: Any) -> None:
        """Write its memory.

        :raises OSError: EFAULT not all of it is there.
        """
        self.flush()
        if self._goes_with_the_reply(addr, len(data)):
            self.out = addr, bytes(data)
        else:
            self._write_now(addr, data)

    def _goes_with_the_reply(self, addr: int, size: int) -> bool:
        request = self.request
        if not request.flags & uapi.ARG_WRITABLE or size > self._at_a_time:
            return False
        return request.arg[1] <= addr and addr + size <= request.arg[1] + _IOC_SIZE(request.arg[0])

    def _write_now(self, addr: int, data: Any) -> None:
        self._argument = b""  # may not be true any more
        for start in range(0, len(data), self._at_a_time):
            piece = bytes(data[start : start + self._at_a_time])
            outcome = self._do(uapi.COPY_TO, addr + start, len(piece), piece)
            if outcome.result < len(piece):
                raise OSError(errno.EFAULT, f"{addr + start + outcome.result:#x} is not writable")

    def flush(self) -> None:
        """Write now what was to go out with the reply, since something else comes before that."""
        if self.out is not None:
            (addr, data), self.out = self.out, None
            self._write_now(addr, data)

    def areas(self) -> list[VmAreaStruct]:
        """Return its areas: as they are now, sorted, linked."""
        found: list[VmAreaStruct] = []
        cursor = 0
        while True:
            outcome = self._do(uapi.AREAS, cursor, 0)
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
        area: VmAreaStruct | None = self._known(info.area) if info.area else None
        if area is None:
            return VmAreaStruct(vma.vm_start, vma.vm_end, vma.vm_pgoff, vma.vm_flags)
        area.vm_start, area.vm_end, area.vm_pgoff = vma.vm_start, vma.vm_end, vma.vm_pgoff
        area.vm_flags = vma.vm_flags
        return area
