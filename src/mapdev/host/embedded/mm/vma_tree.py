"""`MmAreas` splits, merges, moves and ends one process's device areas (VMAs) as the kernel would.

A client's real areas are mappings of physical memory's memfd, one for each run of frames. What the
kernel knows of a device's area beside that (its limits, flags, `vm_ops`) is kept here: an
`MmAreas` for each process that maps devices. Calls that split, change, move or end an area are
carried out here first, with the driver's `vm_ops` told as often as the kernel would.

Objects: an `MmAreas` lives until its process ends or executes a program. A `DeviceArea` is the
`VmAreaStruct` that the driver knows. Neither keeps frames or open files alive: that a `Lease` does,
which follows the real mappings. Used in the host's thread only.

Source: mm/mmap.c, mm/mprotect.c
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any

from mapdev.host.core.operations import Operations
from mapdev.host.embedded.inject import batch
from mapdev.host.embedded.mm.fault_handler import FaultHandler
from mapdev.host.embedded.mm.lifetime import Leases
from mapdev.host.embedded.mm.space_index import SpaceIndex, put
from mapdev.host.embedded.mm.vma import VM_SEALED, DeviceArea
from mapdev.linux.mm import TaskStruct
from mapdev.linux.numbers import PAGE_SHIFT, PAGE_SIZE, VM_DONTCOPY, VM_SPECIAL
from mapdev.linux.vma import vm_get_page_prot


class MmAreas:
    """All device areas of one process.

    :param tgid: the process.
    :ivar batch: where the host's `Batch` is mapped; 0: nowhere.
    :ivar takes_batch: whether it can be mapped, as far as we know.
    :ivar is_tidy: whether a place in the window was free, whenever the host took it for free.
    :ivar room_end: where the first area begins that the process itself has in the window; None: not
        looked at yet.
    :ivar is_shared: whether another process may have the same memory (vfork, CLONE_VM).
    :ivar locks_new: MCL_FUTURE, with MCL_ONFAULT, if areas to come are locked; else 0.
    :ivar fault_handler: maps pages that are touched, if any area has such.
    :ivar seen: whether all calls on the areas are handed over; if not, `AddressSpaces.refresh` has
        to look what became of them.
    """

    def __init__(self, tgid: int, operations: Operations, leases: Leases) -> None:
        self.tgid = tgid
        self._index: SpaceIndex[MmAreas] | None = None
        self._seen = True
        self.batch = 0
        self.takes_batch = True
        self.is_tidy = True
        self.room_end: int | None = None
        self.locks_new = 0
        self._is_shared = False
        self._leases = leases
        self._fault_handler: FaultHandler | None = None
        self._operations = operations
        self._areas: list[DeviceArea] = []

    # --- what is noted in the index of all address spaces -------------------------------------

    @property
    def index(self) -> SpaceIndex[MmAreas] | None:
        """Where properties are noted while it is in use; None: nowhere."""
        return self._index

    @index.setter
    def index(self, index: SpaceIndex[MmAreas] | None) -> None:
        if self._index is not None:
            self._index.forget(self)
        self._index = index
        self.seen, self.is_shared = self._seen, self._is_shared
        self.fault_handler = self._fault_handler

    @property
    def seen(self) -> bool:
        """Whether all calls on the areas are handed over."""
        return self._seen

    @seen.setter
    def seen(self, value: bool) -> None:
        self._seen = value
        if self._index is not None:
            put(self._index.unseen, self, not value)

    @property
    def is_shared(self) -> bool:
        """Whether another process may have the same memory."""
        return self._is_shared

    @is_shared.setter
    def is_shared(self, value: bool) -> None:
        self._is_shared = value
        if self._index is not None:
            put(self._index.shared, self, value)

    @property
    def fault_handler(self) -> FaultHandler | None:
        """What maps pages that are touched."""
        return self._fault_handler

    @fault_handler.setter
    def fault_handler(self, value: FaultHandler | None) -> None:
        self._fault_handler = value
        if self._index is not None:
            put(self._index.faulting, self, value is not None)
        self.note_stale()

    def note_stale(self) -> None:
        """Note whether the fault handler has stale pages; called when some come."""
        if self._index is not None:
            handler = self._fault_handler
            put(self._index.stale, self, handler is not None and bool(handler.stale))

    # --- the areas ----------------------------------------------------------------------------

    def __iter__(self) -> Iterator[DeviceArea]:
        return iter(list(self._areas))

    def __len__(self) -> int:
        return len(self._areas)

    def find(self, addr: int) -> DeviceArea | None:
        """Return the area that contains `addr`."""
        at = self._after(addr) - 1
        return self._areas[at] if at >= 0 and addr < self._areas[at].vm_end else None

    def overlapping(self, start: int, end: int) -> list[DeviceArea]:
        """Return the areas that have a part in [`start`, `end`), in order."""
        first = self._after(start)
        if first and self._areas[first - 1].vm_end > start:
            first -= 1
        return self._areas[first : self._after(end - 1)]

    @property
    def hidden(self) -> list[range]:
        """The host's own memory in the process, in order: for clients there is nothing."""
        ranges = [range(self.batch, self.batch + batch.SIZE)] if self.batch else []
        if self.fault_handler is not None:
            page = self.fault_handler.page
            ranges.append(range(page, page + 2 * PAGE_SIZE))
        return sorted(ranges, key=_first)

    def give_up_batch(self) -> None:
        """The client puts something else where the batch is, or nothing: it has none any more."""
        self.batch = 0
        self.takes_batch = False

    def hides(self, start: int, end: int) -> bool:
        """Say whether [`start`, `end`) has a part of the host's own memory."""
        return any(start < part.stop and part.start < end for part in self.hidden)

    def insert(self, area: DeviceArea) -> None:
        """Add a new area; there must be none in its place."""
        self._areas.insert(self._after(area.vm_start), area)
        self._leases.area_began(area.lease)

    def _drop(self, area: DeviceArea) -> None:
        self._areas.remove(area)
        self._leases.area_ended(area.lease)

    def rebind(self, area: DeviceArea, lease: int) -> None:
        """From now on `area` is one of another lease."""
        self._leases.area_began(lease)
        self._leases.area_ended(area.lease)
        area.lease = lease

    def highest(self, below: int) -> int:
        """Return the end of the last area that begins below an address, else 0."""
        at = self._after(below - 1)
        return self._areas[at - 1].vm_end if at else 0

    def _after(self, addr: int) -> int:
        """Return the index of the first area that begins after `addr`."""
        return bisect_right(self._areas, addr, key=_start_of)

    # --- what clients do to areas -----------------------------------------------------------

    def split(self, task: TaskStruct | None, area: DeviceArea, addr: int) -> DeviceArea:
        """Split `area` at `addr`; return the upper part, which is the new one.

        :raises OSError: what may_split raised.
        """
        self.tell(task, area, "may_split", addr)
        upper = area.piece(addr, area.vm_end)
        area.trim(area.vm_start, addr)
        self.insert(upper)
        self.tell(task, upper, "open")
        return upper

    def isolate(self, task: TaskStruct | None, start: int, end: int) -> list[DeviceArea]:
        """Split areas so that none crosses `start` or `end`; return those in between."""
        inside = []
        for area in self.overlapping(start, end):
            part = self.split(task, area, start) if area.vm_start < start else area
            if part.vm_end > end:
                self.split(task, part, end)
            inside.append(part)
        return inside

    def unmap(self, task: TaskStruct | None, start: int, end: int) -> list[DeviceArea]:
        """End what there is in [`start`, `end`); return the areas that are gone."""
        gone = self.isolate(task, start, end)
        for area in gone:
            self._drop(area)
            if self.fault_handler is not None:
                self.fault_handler.forget(area)
            self.tell(task, area, "close")
        return gone

    def check_not_sealed(self, start: int, end: int) -> None:
        """Refuse to change or unmap what is sealed in [`start`, `end`).

        :raises OSError: EPERM some of it is.
        """
        if any(area.vm_flags & VM_SEALED for area in self.overlapping(start, end)):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def change(
        self, task: TaskStruct | None, start: int, end: int, flags: Callable[[int], int]
    ) -> None:
        """Change the vm_flags of [`start`, `end`), splitting areas where that is needed."""
        for area in self.overlapping(start, end):
            new = flags(area.vm_flags)
            if new != area.vm_flags:
                low, high = max(start, area.vm_start), min(end, area.vm_end)
                (part,) = self.isolate(task, low, high)
                part.vm_flags = new
                part.vm_page_prot = vm_get_page_prot(new)
        self.merge(start, end)

    def merge(self, start: int, end: int) -> None:
        """Join neighbours that differ in nothing, as the kernel does where there is no close."""
        at = max(1, self._after(start - 1) - 1)
        while at < len(self._areas) and self._areas[at].vm_start <= end:
            before, after = self._areas[at - 1], self._areas[at]
            if _can_join(before, after):
                for run in after.mapped:
                    before.record(run.addr, run.pfn, run.nr_pages, run.kind, run.prot)
                before.vm_end = after.vm_end
                self._drop(after)
                if self.fault_handler is not None:
                    self.fault_handler.let_go(after.lease)
            else:
                at += 1

    def extend(self, new: DeviceArea) -> DeviceArea | None:
        """Let the area before `new` reach to its end, if it goes on there in all respects.

        That is what the kernel does, without asking the driver; else None is returned.

        Source: mm/mmap.c (mmap_region, can_vma_merge_after)
        """
        before = self.find(new.vm_start - 1)
        if before is None or not before.faults or before.vm_end != new.vm_start:
            return None
        if not _goes_on(before, new):
            return None
        before.vm_end = new.vm_end
        return before

    def move(
        self, task: TaskStruct | None, area: DeviceArea, old: range, new: range, keep: bool
    ) -> DeviceArea:
        """Move addresses `old` of `area` to `new`, which may be longer; return the area there.

        :param old: if it is empty, the new area is one more on the same part of the device.
        :param keep: an empty area stays behind (MREMAP_DONTUNMAP).
        :raises OSError: what may_split or mremap raised; then nothing has changed.
        """
        start, end = old.start, old.stop
        for edge in (start, end):
            if area.vm_start < edge < area.vm_end:
                self.tell(task, area, "may_split", edge)
        moved = area.piece(start, end, new.start - start)
        moved.vm_end = new.stop
        self.insert(moved)
        self.tell(task, moved, "open")
        try:
            self.tell(task, moved, "mremap")
        except OSError:
            self._drop(moved)
            self.tell(task, moved, "close")
            raise
        if keep:
            area.forget(start, end)
        elif old:
            self.unmap(task, start, end)
        return moved

    def fork(self, task: TaskStruct, child: TaskStruct) -> MmAreas:
        """Return the address space of `child`, which `task` has just forked."""
        space = MmAreas(child.tgid, self._operations, self._leases)
        space.seen = self.seen
        space.is_tidy, space.room_end = self.is_tidy, self.room_end
        for area in self:
            if not area.vm_flags & VM_DONTCOPY:
                copy = area.piece(area.vm_start, area.vm_end)
                copy.vm_mm = child.mm
                space.insert(copy)
                space.tell(task, copy, "open")
        return space

    def end(self) -> None:
        """The process has ended, or executes another program: close all areas."""
        if self.fault_handler is not None:
            self.fault_handler.close()
            self.fault_handler = None
        for area in self:
            self._drop(area)
            self.tell(None, area, "close")

    def tell(self, task: TaskStruct | None, area: DeviceArea, operation: str, *args: Any) -> None:
        """Run a `vm_ops` operation of `area`, if it has it; a hook that has no result can't fail.

        :raises OSError: what the operation raised, unless it is open or close.
        """
        function = getattr(area.vm_ops, operation, None) if area.vm_ops else None
        if function is None:
            return
        device = area.open_file.device
        if operation in ("open", "close"):
            self._operations.notify_area(device, task, f"vm_{operation}", function, area)
        else:
            self._operations.check(device, task, f"vm_{operation}", function, area, *args)


def _first(addresses: range) -> int:
    return addresses.start


def _start_of(area: DeviceArea) -> int:
    return area.vm_start


def _can_join(before: DeviceArea, after: DeviceArea) -> bool:
    return (
        before.vm_end == after.vm_start
        and before.vm_ops is after.vm_ops
        and before.vm_private_data is after.vm_private_data
        and before.policy == after.policy
        and _goes_on(before, after)
    )


def _goes_on(before: DeviceArea, after: DeviceArea) -> bool:
    return (
        before.vm_flags == after.vm_flags
        and not before.vm_flags & VM_SPECIAL
        and before.vm_file is after.vm_file
        and (before.vm_ops is None or before.vm_ops.close is None)
        and before.vm_pgoff + (before.vm_end - before.vm_start >> PAGE_SHIFT) == after.vm_pgoff
    )
