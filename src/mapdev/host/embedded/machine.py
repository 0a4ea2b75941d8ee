"""The machine that the vocabulary runs on: physical memory, plus the processes that use it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Hashable
from typing import Any

from mapdev.host.embedded.lease import Lease, Leases
from mapdev.host.embedded.memory.physical import PhysicalMemory
from mapdev.host.embedded.syscalls import read_memory, write_memory
from mapdev.inspect.maps import MapsLine, read_maps
from mapdev.linux.context import context
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

InstallFile = Callable[[str, Any, Any, int], int]


class EmbeddedMachine(PhysicalMemory):
    """Implements `mapdev.linux.context.Machine` for clients that run as ordinary processes.

    :ivar woken: told of each wake-up, in whatever thread; `Parking.wake`.
    :ivar kthreads: the kernel threads that were started, for those who own them.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.leases = Leases(self)
        self.install: InstallFile | None = None
        self.woken: Callable[[Hashable, Hashable], None] = lambda queue, owner: None
        self.kthreads: dict[Hashable, list[Kthread]] = {}
        status = os.fstat(self.fd)
        self.dev, self.inode = status.st_dev, status.st_ino
        self._dev = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"

    def copy_from_user(self, task: TaskStruct, addr: int, size: int) -> bytes:
        """Read `size` bytes of the task's memory; EFAULT when not all of it is there."""
        data = read_memory(task.pid, addr, size) if size else b""
        if len(data) < size:
            raise OSError(errno.EFAULT, f"{addr + len(data):#x} is not readable in the client")
        return data

    def copy_to_user(
        self, task: TaskStruct, addr: int, data: bytes | bytearray | memoryview
    ) -> None:
        """Write `data` into the task's memory; EFAULT when not all of it could be."""
        if len(data) and (count := write_memory(task.pid, addr, data)) < len(data):
            raise OSError(errno.EFAULT, f"{addr + count:#x} is not writable in the client")

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
        before: Lease | None = None
        for line in read_maps(task.pid):
            found = self._lease_of(line, task.tgid)
            lease = found[0] if found else None
            area = _area(line, found)
            area.vm_mm = task.mm
            last = areas[-1] if areas else None
            if (
                last is not None
                and lease is not None
                and lease is before
                and last.vm_end == area.vm_start
                and last.vm_flags == area.vm_flags
            ):
                last.vm_end = area.vm_end  # pieces of one area, mapped run by run
            else:
                if last is not None:
                    last.vm_next, area.vm_prev = area, last
                areas.append(area)
            before = lease
        return areas

    def _lease_of(self, line: MapsLine, tgid: int) -> tuple[Lease, int] | None:
        if line.inode != self.inode or line.dev != self._dev:
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


def _area(line: MapsLine, found: tuple[Lease, int] | None) -> VmAreaStruct:
    flags = 0
    for letter, bits in (("r", VM_READ), ("w", VM_WRITE), ("x", VM_EXEC), ("s", VM_SHARED)):
        flags |= bits if letter in line.perms else 0
    if found is None:
        flags |= VM_MAYREAD | VM_MAYWRITE | (VM_MAYSHARE if flags & VM_SHARED else 0)
        return VmAreaStruct(line.start, line.end, line.offset >> PAGE_SHIFT, flags)
    lease, index = found
    origin = lease.vma
    changeable = VM_READ | VM_WRITE | VM_EXEC  # by mprotect; the rest is the driver's
    area = VmAreaStruct(
        line.start,
        line.end,
        origin.vm_pgoff + index,
        origin.vm_flags & ~changeable | flags & changeable,
        vm_file=origin.vm_file,
    )
    area.vm_ops = origin.vm_ops
    area.vm_private_data = origin.vm_private_data
    return area
