"""`Mappings` knows all device mappings of all clients: it counts, pre-faults and zaps them.

A mapping is a `Lease`, alive as long as the kernel has an area of it, and one or more areas in the
address spaces of clients (`AddressSpaces`). `Mappings` makes both and does what concerns several of
them: pre-faulting, zapping, finding out what ended. A mapping is a use of its open file.

Used in the host's thread only, but for `zap`.

Source: mm/memory.c (unmap_mapping_range), mm/gup.c
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from mapdev.host.embedded.files.open_file import OpenFile
from mapdev.host.embedded.memory.physical import PhysicalMemory
from mapdev.host.embedded.mm.address_spaces import AddressSpaces
from mapdev.host.embedded.mm.lifetime import Leases
from mapdev.host.embedded.mm.window import Window
from mapdev.host.embedded.watcher import Watcher
from mapdev.inspect.maps import MapsLine, read_maps
from mapdev.linux.fs import Inode
from mapdev.linux.mm import TaskStruct
from mapdev.linux.numbers import (
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_EXEC,
    VM_IO,
    VM_PFNMAP,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
)
from mapdev.linux.vma import vma_pages

if TYPE_CHECKING:
    from mapdev.host.embedded.mm.vma import DeviceArea
    from mapdev.host.embedded.mm.vma_tree import MmAreas

_ACCESS = VM_READ | VM_WRITE | VM_EXEC
InThread = Callable[[Callable[[], None]], object]
MakeClient = Callable[[int, int], TaskStruct]


class Mappings:
    """Counts, pre-faults and zaps all mappings of a host.

    :param memory: what is mapped.
    :param window: where calls on areas are handed over.
    :param watcher: watches descriptors.
    :param in_thread: runs a function in the host's thread, which may be the caller's.
    :param client: makes what stands for a thread of a client, given its and its process's number.
    :ivar leases: the mappings that live.
    :ivar spaces: the address spaces that have some.
    :ivar nr_frames: the first frame number beyond the end of memory: a touch of it is SIGBUS.
    """

    def __init__(
        self,
        memory: PhysicalMemory,
        window: Window,
        watcher: Watcher,
        in_thread: InThread,
        client: MakeClient,
    ) -> None:
        self.window = window
        self.watcher = watcher
        self._in_thread = in_thread
        self.nr_frames = memory.nr_frames
        self.leases = Leases(memory, watcher, self.sweep)
        self.spaces = AddressSpaces(self.leases, watcher, self.sweep, self.is_frames)
        self.client = client
        self._files: dict[int, OpenFile] = {}  # by the index of their lease
        status = os.fstat(memory.fd)
        self.dev, self.inode = status.st_dev, status.st_ino
        self._dev = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"

    @property
    def files(self) -> set[OpenFile]:
        """The open files that are mapped."""
        return set(self._files.values())

    def is_frames(self, line: MapsLine) -> bool:
        """Say whether an area shows physical memory."""
        return line.inode == self.inode and line.dev == self._dev

    def mapped(self, index: int, area: DeviceArea, tgid: int, holds: bool = True) -> None:
        """Count the mapping `area`, made through description `index`, as a use of its file.

        The index is that of its lease.

        :param holds: it keeps the frames that are mapped; if not, another mapping does already.
        """
        as_made = area.piece(area.vm_start, area.vm_end)
        if not holds:
            as_made.forget(area.vm_start, area.vm_end)
        self.leases.add(index, as_made, tgid)
        self._files[index] = area.open_file
        area.open_file.get()

    def sweep(self) -> None:
        """Find out which mappings ended, and let go of what they kept."""
        if self.spaces.unseen:
            self.refresh()
        for lease in self.leases.sweep():
            self._files.pop(lease.index).put()

    def refresh(self) -> None:
        """Find out what clients did to areas that they have outside of the window."""
        for space in self.spaces.refresh():
            space.seen = all(self.window.holds(area.vm_start, area.vm_end) for area in space)

    def shows_device(self, tid: int, addr: int) -> bool:
        """Say whether a device is mapped at `addr` in the process of thread `tid`."""
        if not len(self.leases):
            return False
        space = self.spaces.of(tid)
        if space is not None and space.find(addr) is not None:
            return True
        return any(line.start <= addr < line.end and self.is_frames(line)
                   for line in read_maps(tid))  # fmt: skip

    # --- pages of areas that fault ----------------------------------------------------------

    def bring_in(self, tid: int, addr: int, size: int, is_write: bool) -> None:
        """Pre-fault a range of a client's memory.

        If the host touched it unprepared, it would deadlock on its own fault handler.

        :raises OSError: EFAULT a driver does not give a page.
        """
        space = self.spaces.of(tid) if self.spaces.have_fault_handlers else None
        if space is None or space.fault_handler is None:
            return
        if not space.seen and space.overlapping(addr, addr + size):
            self.refresh()  # what is there by now must not be replaced by a page
        task = self.client(tid, space.tgid)
        needed = VM_WRITE if is_write else VM_READ
        for area in space.overlapping(addr, addr + size):
            start, end = max(addr, area.vm_start), min(addr + size, area.vm_end)
            if not area.faults or not area.vm_flags & needed:
                continue
            if not space.fault_handler.bring_in(start, end, is_write, task, area):
                raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))

    def populate(self, tid: int, start: int, end: int) -> None:
        """Pre-fault what is to be there at once, as MAP_POPULATE and mlock ask for.

        :raises OSError: EFAULT a driver does not give a page.

        Source: mm/gup.c (populate_vma_page_range)
        """
        space = self.spaces.of(tid)
        if space is None or space.fault_handler is None:
            return
        task = self.client(tid, space.tgid)
        for area in space.overlapping(start, end):
            flags = area.vm_flags
            if flags & (VM_IO | VM_PFNMAP) or not flags & _ACCESS or not area.faults:
                continue
            is_private = flags & (VM_WRITE | VM_SHARED) == VM_WRITE
            low, high = max(start, area.vm_start), min(end, area.vm_end)
            if space.fault_handler.bring_in(low, high, is_private, task, area):
                continue
            # Pages come until one can't be had. If there were some, the kernel asks once more.
            missing = next((first for first, _ in area.holes(low, high)), low)
            if missing > low:
                space.fault_handler.bring_in(missing, missing + 1, is_private, task, area)
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))

    def zap(self, inode: Inode, start: int, size: int) -> None:
        """Take bytes `start` to `start + size` of a device out of all areas; 0: to the end.

        May be called in any thread.
        """
        self._in_thread(lambda: self._zap(inode, start, size))

    def _zap(self, inode: Inode, start: int, size: int) -> None:
        first = start >> PAGE_SHIFT
        end = start + size + PAGE_SIZE - 1 >> PAGE_SHIFT if size else 1 << 64
        if self.spaces.unseen:
            self.refresh()
        for space in self.spaces:
            for area in space:
                if area.open_file.file.f_inode is inode:
                    last = area.vm_pgoff + vma_pages(area)
                    low, high = max(first, area.vm_pgoff), min(end, last)
                    if low < high:
                        base = area.vm_start - (area.vm_pgoff << PAGE_SHIFT)
                        where = base + (low << PAGE_SHIFT), base + (high << PAGE_SHIFT)
                        self._zap_in(space, area, *where)

    def _zap_in(self, space: MmAreas, area: DeviceArea, start: int, end: int) -> None:
        handler = space.fault_handler
        if area.faults:
            if handler is not None:
                handler.zap(area, start, end)
        elif any(run.addr < end and start < run.end for run in area.mapped):
            if handler is not None:
                handler.hide(area, start, end)
            else:
                self.spaces.to_hide.setdefault(space, []).append((start, end))
