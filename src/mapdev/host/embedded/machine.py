"""The machine that the vocabulary runs on: physical memory, plus the processes that use it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from mapdev.host.core.machine import Activity, Wake, nobody_waits
from mapdev.host.embedded.lease import Lease, Leases
from mapdev.host.embedded.memory.physical import PhysicalMemory
from mapdev.host.embedded.spaces import Spaces
from mapdev.host.embedded.syscalls import read_memory, write_memory
from mapdev.inspect.maps import MapsLine, read_maps
from mapdev.linux.fs import Inode
from mapdev.linux.mm import TaskStruct
from mapdev.linux.numbers import (
    PAGE_SHIFT,
    VM_EXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
)
from mapdev.linux.page import Page
from mapdev.linux.vma import VmAreaStruct

_LETTERS = {"r": VM_READ, "w": VM_WRITE, "x": VM_EXEC}
_ACCESS = VM_READ | VM_WRITE | VM_EXEC

BringIn = Callable[[int, int, int, bool], None]


class EmbeddedMachine(Activity, PhysicalMemory):
    """Implements `mapdev.linux.context.Machine` for clients that run as ordinary processes.

    :ivar leases_begin: called with `leases` when they are made.
    :ivar bring_in: while there are areas whose pages come when they are touched: brings those of a
        range in, since we would wait for ourselves if our own access touched them.
    """

    def __init__(self, size: int, wake: Wake = nobody_waits) -> None:
        PhysicalMemory.__init__(self, size)
        Activity.__init__(self, wake)
        self._leases: Leases | None = None
        self.leases_begin: Callable[[Leases], None] = lambda leases: None
        self.spaces: Spaces | None = None
        self.bring_in: BringIn | None = None
        self.zap: Callable[[Inode, int, int], None] | None = None
        status = os.fstat(self.fd)
        self.dev, self.inode = status.st_dev, status.st_ino
        self._dev = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"

    @property
    def leases(self) -> Leases:
        """Which mappings live."""
        return self.begin_leases() if self._leases is None else self._leases

    def begin_leases(self) -> Leases:
        """Begin to watch mappings; not in vain, since to stop that takes the kernel 10 ms."""
        self._leases = leases = Leases(self)
        self.leases_begin(leases)
        return leases

    @property
    def has_leases(self) -> bool:
        """Whether anything is mapped, or has been: if not, don't ask for `leases`."""
        return self._leases is not None

    @property
    def unsettled(self) -> bool:
        """Whether the leases are to be swept again soon."""
        return self._leases is not None and self._leases.unsettled

    def read_user(self, tid: int, addr: int, size: int) -> bytes:
        """Read up to `size` bytes at `addr` of thread `tid`; see `syscalls.read_memory`."""
        if self.spaces and self.bring_in is not None:
            self.bring_in(tid, addr, size, False)
        return read_memory(tid, addr, size)

    def write_user(self, tid: int, addr: int, data: Any) -> int:
        """Write `data` at `addr` of thread `tid`; see `syscalls.write_memory`."""
        if self.spaces and self.bring_in is not None:
            self.bring_in(tid, addr, len(data), True)
        return write_memory(tid, addr, data)

    def unmap_mapping_range(self, inode: Inode, start: int, size: int) -> None:
        """Take pages of a device out of all areas that map them."""
        if self.zap is not None:
            self.zap(inode, start, size)

    def areas(self, task: TaskStruct) -> list[VmAreaStruct]:
        """Return the task's areas as /proc shows them now, a device's own put together again."""
        areas: list[VmAreaStruct] = []
        space = self.spaces.at(task.tgid) if self.spaces is not None else None
        before: Lease | None = None
        hidden = space.hidden if space is not None else range(0)
        for line in read_maps(task.pid):
            if line.start in hidden:
                continue
            known = space.find(line.start) if space is not None else None
            found = self._lease_of(line, task.tgid) if known is None else None
            last = areas[-1] if areas else None
            if known is not None:
                if known is not last:
                    areas.append(known)
            elif last is not None and found and found[0] is before and _continues(last, line):
                last.vm_end = line.end  # pieces of one area, mapped run by run
            else:
                areas.append(_area(line, found))
            before = found[0] if found else None
        _link(areas, task)
        return areas

    def page(self, pfn: int) -> Page:
        """Return the page of frame `pfn`."""
        return Page(self, pfn)

    def is_frames(self, line: MapsLine) -> bool:
        """Say whether an area shows physical memory."""
        return line.inode == self.inode and line.dev == self._dev

    def _lease_of(self, line: MapsLine, tgid: int) -> tuple[Lease, int] | None:
        if not self.is_frames(line) or not self.has_leases:
            return None
        return self.leases.find(line.offset >> PAGE_SHIFT, line.start, tgid)

    def close(self) -> None:
        """Give everything back."""
        if self._leases is not None:
            self._leases.close()
        PhysicalMemory.close(self)


def find_area(areas: list[VmAreaStruct], addr: int) -> VmAreaStruct | None:
    """Return the area of `areas` that contains `addr`."""
    for area in areas:
        if area.vm_start <= addr < area.vm_end:
            return area
    return None


def _continues(area: VmAreaStruct, line: MapsLine) -> bool:
    return area.vm_end == line.start and area.vm_flags & _ACCESS == _access(line)


def _link(areas: list[VmAreaStruct], task: TaskStruct) -> None:
    previous: VmAreaStruct | None = None
    for area in areas:
        area.vm_mm = task.mm
        area.vm_prev, area.vm_next = previous, None
        if previous is not None:
            previous.vm_next = area
        previous = area


def _access(line: MapsLine) -> int:
    return sum(bit for letter, bit in _LETTERS.items() if letter in line.perms)


def _area(line: MapsLine, found: tuple[Lease, int] | None) -> VmAreaStruct:
    flags = _access(line) | (VM_SHARED if "s" in line.perms else 0)
    if found is None:
        flags |= VM_MAYREAD | VM_MAYWRITE | (VM_MAYSHARE if flags & VM_SHARED else 0)
        return VmAreaStruct(line.start, line.end, line.offset >> PAGE_SHIFT, flags)
    lease, index = found
    origin = lease.vma
    area = VmAreaStruct(
        line.start,
        line.end,
        origin.vm_pgoff + index,
        origin.vm_flags & ~_ACCESS | flags & _ACCESS,  # mprotect changes these
        vm_file=origin.vm_file,
    )
    area.vm_ops = origin.vm_ops
    area.vm_private_data = origin.vm_private_data
    return area
