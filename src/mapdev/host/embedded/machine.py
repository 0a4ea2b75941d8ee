"""`EmbeddedMachine` gives drivers physical memory in a memfd, and access to clients' memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mapdev.host.core.clock import Clock
from mapdev.host.core.machine import Activity, Wake
from mapdev.host.embedded.client import EmbeddedClient
from mapdev.host.embedded.libc import read_memory, write_memory
from mapdev.host.embedded.memory.physical import PhysicalMemory
from mapdev.host.embedded.mm.lifetime import Lease
from mapdev.host.embedded.mm.mappings import InThread, Mappings
from mapdev.host.embedded.mm.window import Window
from mapdev.host.embedded.watcher import Watcher
from mapdev.inspect.maps import MapsLine, read_maps
from mapdev.linux.fasync import SIGURG
from mapdev.linux.fs import File, Inode
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
from mapdev.linux.vma import VmAreaStruct

if TYPE_CHECKING:
    from mapdev.host.embedded.files.sigio import Sigio

_LETTERS = {"r": VM_READ, "w": VM_WRITE, "x": VM_EXEC}
_ACCESS = VM_READ | VM_WRITE | VM_EXEC


class EmbeddedMachine(Activity, PhysicalMemory):
    """Implements `mapdev.linux.context.Machine` for clients that run as ordinary processes.

    :param size: of physical memory, bytes.
    :param wake: see `mapdev.host.core.machine.Wake`.
    :param clock: the host's.
    :param window: where devices are mapped in clients.
    :param watcher: watches descriptors.
    :param in_thread: runs a function in the host's thread, which may be the caller's.
    :ivar mappings: what is mapped in clients; `leases` and `spaces` are its.
    """

    def __init__(
        self,
        size: int,
        wake: Wake,
        clock: Clock,
        window: Window,
        watcher: Watcher,
        in_thread: InThread,
    ) -> None:
        PhysicalMemory.__init__(self, size)
        Activity.__init__(self, wake, clock)
        self.watcher = watcher
        self.mappings = Mappings(self, window, watcher, in_thread, self.client)
        self.leases = self.mappings.leases
        self._sigio: Sigio | None = None
        self.spaces = self.mappings.spaces
        self._by_tgid = self.spaces.by_tgid  # empty while nobody maps anything

    def read_user(self, tid: int, addr: int, size: int) -> bytes:
        """Read up to `size` bytes at `addr` of thread `tid`; see `libc.read_memory`."""
        if self._by_tgid:
            self.mappings.bring_in(tid, addr, size, False)
        return read_memory(tid, addr, size)

    def write_user(self, tid: int, addr: int, data: Any) -> int:
        """Write `data` at `addr` of thread `tid`; see `libc.write_memory`."""
        if self._by_tgid:
            self.mappings.bring_in(tid, addr, len(data), True)
        return write_memory(tid, addr, data)

    def unmap_mapping_range(self, inode: Inode, start: int, size: int) -> None:
        """Take pages of a device out of all areas that map them."""
        self.mappings.zap(inode, start, size)

    def kill_fasync(self, file: File, fd: int, sig: int, band: int) -> None:
        """Signal the owner of an open file, if it has one.

        Source: fs/fcntl.c (kill_fasync_rcu)
        """
        owner = file.f_owner
        if owner is not None and owner.pid and not (sig == SIGURG and not owner.signum):
            if self._sigio is None:
                from mapdev.host.embedded.files.sigio import Sigio  # here, for a quick start

                self._sigio = Sigio()
            self._sigio.send(owner, fd, band)

    def client(self, tid: int, tgid: int) -> TaskStruct:
        """Return what stands for thread `tid` of process `tgid`."""
        return EmbeddedClient(self, tid, tgid)

    def areas(self, task: TaskStruct) -> list[VmAreaStruct]:
        """Return the task's areas as /proc shows them now, a device's own put together again."""
        areas: list[VmAreaStruct] = []
        space = self.spaces.at(task.tgid)
        before: Lease | None = None
        for line in read_maps(task.pid):
            if space is not None and space.hides(line.start, line.end):
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

    def _lease_of(self, line: MapsLine, tgid: int) -> tuple[Lease, int] | None:
        if not self.mappings.is_frames(line):
            return None
        return self.leases.find(line.offset >> PAGE_SHIFT, line.start, tgid)

    def close(self) -> None:
        """Give everything back."""
        self.leases.close()
        if self._sigio is not None:
            self._sigio.close()
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
