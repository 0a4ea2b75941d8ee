"""The machine that the vocabulary runs on: physical memory, plus the processes that use it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Hashable
from typing import Any

from mapdev.host.embedded.files import OpenFile
from mapdev.host.embedded.lease import Lease
from mapdev.host.embedded.mappings import InThread, Mappings
from mapdev.host.embedded.memory.physical import PhysicalMemory
from mapdev.host.embedded.syscalls import read_memory, write_memory
from mapdev.host.embedded.watcher import Watcher
from mapdev.host.embedded.window import Window
from mapdev.inspect.maps import MapsLine, read_maps
from mapdev.linux.context import context
from mapdev.linux.fs import Inode
from mapdev.linux.kthread import Kthread
from mapdev.linux.mm import TaskStruct
from mapdev.linux.numbers import (
    PAGE_SHIFT,
    PF_KTHREAD,
    VM_EXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
)
from mapdev.linux.vma import VmAreaStruct

_LETTERS = {"r": VM_READ, "w": VM_WRITE, "x": VM_EXEC}
_ACCESS = VM_READ | VM_WRITE | VM_EXEC

InstallFile = Callable[[str, Any, Any, int], int]


class EmbeddedMachine(PhysicalMemory):
    """Implements `mapdev.linux.context.Machine` for clients that run as ordinary processes.

    :param size: of physical memory, bytes.
    :param window: where devices are mapped in clients.
    :param watcher: watches descriptors.
    :param in_thread: runs a function in the host's thread, which may be the caller's.
    :param unmapped: called when a mapping of an open file is gone from all clients.
    :ivar mappings: what is mapped in clients; `leases` and `spaces` are its.
    :ivar woken: told of each wake-up, in whatever thread; `Parking.wake`.
    :ivar kthreads: the kernel threads that were started, for those who own them.
    """

    def __init__(
        self,
        size: int,
        window: Window,
        watcher: Watcher,
        in_thread: InThread,
        unmapped: Callable[[OpenFile], None],
    ) -> None:
        super().__init__(size)
        self.mappings = Mappings(self, window, watcher, in_thread, unmapped)
        self.leases = self.mappings.leases
        self.spaces = self.mappings.spaces
        self.install: InstallFile | None = None
        self.woken: Callable[[Hashable, Hashable], None] = lambda queue, owner: None
        self.kthreads: dict[Hashable, list[Kthread]] = {}

    @property
    def unsettled(self) -> bool:
        """Whether the leases are to be swept again soon."""
        return self.leases.unsettled

    def copy_from_user(self, task: TaskStruct, addr: int, size: int) -> bytes:
        """Read `size` bytes of the task's memory; EFAULT when not all of it is there."""
        data = self.read_user(task.pid, addr, size) if size else b""
        if len(data) < size:
            raise OSError(errno.EFAULT, f"{addr + len(data):#x} is not readable in the client")
        return data

    def copy_to_user(
        self, task: TaskStruct, addr: int, data: bytes | bytearray | memoryview
    ) -> None:
        """Write `data` into the task's memory; EFAULT when not all of it could be."""
        if len(data) and (count := self.write_user(task.pid, addr, data)) < len(data):
            raise OSError(errno.EFAULT, f"{addr + count:#x} is not writable in the client")

    def read_user(self, tid: int, addr: int, size: int) -> bytes:
        """Read up to `size` bytes at `addr` of thread `tid`; see `syscalls.read_memory`."""
        if self.spaces:
            self.mappings.bring_in(tid, addr, size, False)
        return read_memory(tid, addr, size)

    def write_user(self, tid: int, addr: int, data: Any) -> int:
        """Write `data` at `addr` of thread `tid`; see `syscalls.write_memory`."""
        if self.spaces:
            self.mappings.bring_in(tid, addr, len(data), True)
        return write_memory(tid, addr, data)

    def unmap_mapping_range(self, inode: Inode, start: int, size: int) -> None:
        """Take pages of a device out of all areas that map them."""
        self.mappings.zap(inode, start, size)

    def install_file(self, name: str, driver: Any, private_data: Any, flags: int) -> int:
        """Open a new file in the task whose call is being handled."""
        task = context().task
        if self.install is None or task is None or task.flags & PF_KTHREAD:
            raise OSError(errno.ESRCH, "anon_inode_getfd: no client's call is being handled")
        return self.install(name, driver, private_data, flags)

    def wake_up(self, queue: Hashable, owner: Hashable) -> None:
        """Run again what waits on `queue`; from any thread."""
        self.woken(queue, owner)

    def add_kthread(self, kthread: Kthread) -> None:
        """Know of a kernel thread, so that it ends with its owner; from any thread."""
        before = self.kthreads.get(kthread.owner, [])
        self.kthreads[kthread.owner] = [*(other for other in before if other.is_alive), kthread]

    def areas(self, task: TaskStruct) -> list[VmAreaStruct]:
        """Return the task's areas as /proc shows them now, a device's own put together again."""
        areas: list[VmAreaStruct] = []
        space = self.spaces.at(task.tgid)
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

    def _lease_of(self, line: MapsLine, tgid: int) -> tuple[Lease, int] | None:
        if not self.mappings.is_frames(line):
            return None
        return self.leases.find(line.offset >> PAGE_SHIFT, line.start, tgid)

    def close(self) -> None:
        """Give everything back."""
        self.leases.close()
        super().close()


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
