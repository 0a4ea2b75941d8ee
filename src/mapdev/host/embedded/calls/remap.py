"""Handles mremap of a device's area, which is many real areas, moved or resized piece by piece.

Source: mm/mremap.c (as of Linux 6.1)
"""

from __future__ import annotations

import errno
import os

from mapdev.host.embedded.calls.mapping import make_way
from mapdev.host.embedded.calls.verdict import ANSWERED, PASS_ON, Handler, Verdict
from mapdev.host.embedded.inject.injection import Injection
from mapdev.host.embedded.inject.thread import StoppedThread
from mapdev.host.embedded.mm.remote_mmap import (
    map_frames,
    move_pieces,
    reserve,
    reserve_somewhere,
)
from mapdev.host.embedded.mm.vma import DeviceArea
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.numbers import MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE
from mapdev.inspect.maps import read_maps
from mapdev.linux.mm import TaskStruct
from mapdev.linux.numbers import (
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    PAGE_MASK,
    PAGE_SIZE,
    VM_DONTEXPAND,
    VM_MAYSHARE,
    VM_PFNMAP,
    VM_SHARED,
)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _do_mremap(kernel: Subsystems, call: Call) -> int | Verdict:
    addr, old, new, flags, target, _ = call.args
    old, new = (length + PAGE_SIZE - 1 & PAGE_MASK for length in (old, new))
    if flags & MREMAP_FIXED:
        make_way(kernel, call, target, new)
    space = kernel.spaces.of(call.tid)
    area = space.find(addr) if space is not None else None
    if space is not None and space.hides(addr, addr + 1):
        raise _error(errno.EFAULT)
    if space is None or area is None:
        if space is not None and flags & MREMAP_FIXED and space.overlapping(target, target + new):
            _replace(kernel, call, space, new)
        elif kernel.mappings.shows_device(call.tid, addr):
            raise _error(errno.EINVAL)  # not one that this process made: leave it as it is
        return PASS_ON
    _check(addr, old, new, flags, target, kernel.window.task_size)
    space.check_not_sealed(addr, addr + 1)
    if flags & MREMAP_FIXED:
        space.check_not_sealed(target, target + new)
    with Injection(kernel.injector, call, "its mapping of a device can't be changed") as injection:
        job = _Remap(kernel, call, injection, space, area)
        injection.result = job.run(addr, old, new, flags, target)
    return ANSWERED


def _replace(kernel: Subsystems, call: Call, space: MmAreas, new: int) -> None:
    """Something else comes to where a device is. Should that fail, too much is forgotten."""
    addr, old, _, flags, target, _ = call.args
    _check(addr, old + PAGE_SIZE - 1 & PAGE_MASK, new, flags, target, kernel.window.task_size)
    if any(line.start <= addr < line.end for line in read_maps(call.tid)):
        space.check_not_sealed(target, target + new)
        space.unmap(call.task, target, target + new)


def _check(addr: int, old: int, new: int, flags: int, target: int, task_size: int) -> None:
    """Make the checks that need no look at the area.

    :raises OSError: EINVAL unknown flags or combination, unaligned or overlapping addresses, new
        length 0.
    """
    maymove, fixed = flags & MREMAP_MAYMOVE, flags & MREMAP_FIXED
    dontunmap = flags & MREMAP_DONTUNMAP
    if flags & ~7 or addr % PAGE_SIZE or not new:
        raise _error(errno.EINVAL)
    if ((fixed or dontunmap) and not maymove) or (dontunmap and old != new):
        raise _error(errno.EINVAL)
    if fixed:
        if target % PAGE_SIZE or target + new > task_size:
            raise _error(errno.EINVAL)
        if target < addr + old and addr < target + new:
            raise _error(errno.EINVAL)


class _Remap:
    """One mremap call on `area`, its thread stopped."""

    def __init__(
        self, kernel: Subsystems, call: Call, injection: Injection, space: MmAreas, area: DeviceArea
    ) -> None:
        self._kernel = kernel
        self._injection = injection
        self._thread: StoppedThread = injection.thread
        self._space = space
        self._area = area
        self._task: TaskStruct = call.task

    def run(self, addr: int, old: int, new: int, flags: int, target: int) -> int:
        """Carry it out and return the new address."""
        if flags & MREMAP_FIXED:
            self._unmap(target, target + new)
            area = self._space.find(addr)
            if area is None:
                raise _error(errno.EFAULT)
            self._area = area  # another one, if the target was a part of the same area
        if old > new and flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
            self._unmap(addr + new, addr + old)
            old = new
        if flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
            self._check_area(addr, old, new, flags)
            return self._move(addr, old, new, target if flags & MREMAP_FIXED else 0,
                              bool(flags & MREMAP_DONTUNMAP))  # fmt: skip
        if old >= new:
            if old > new:
                self._unmap(addr + new, addr + old)
            return addr
        self._check_area(addr, old, new, flags)
        if old == self._area.vm_end - addr and self._grow(addr + old, addr + new):
            return addr
        if not flags & MREMAP_MAYMOVE:
            raise _error(errno.ENOMEM)
        return self._move(addr, old, new, 0, keep=False)

    def _check_area(self, addr: int, old: int, new: int, flags: int) -> None:
        area = self._area
        if not old and not area.vm_flags & (VM_SHARED | VM_MAYSHARE):
            raise _error(errno.EINVAL)
        if flags & MREMAP_DONTUNMAP and area.vm_flags & (VM_DONTEXPAND | VM_PFNMAP):
            raise _error(errno.EINVAL)
        if old > area.vm_end - addr:
            raise _error(errno.EFAULT)
        if new != old and area.vm_flags & (VM_DONTEXPAND | VM_PFNMAP):
            raise _error(errno.EFAULT)

    def _unmap(self, start: int, end: int) -> None:
        self._space.unmap(self._task, start, end)
        self._thread.syscall("munmap", start, end - start)

    def _grow(self, start: int, end: int) -> bool:
        """Extend the area, which ends at `start`, to `end`; False if something is in the way."""
        try:
            reserve(self._thread, start, end - start, MAP_FIXED_NOREPLACE)
        except OSError:
            return False
        self._area.vm_end = end
        try:
            self._fill(start, end)
        except OSError:
            self._area.vm_end = start
            self._thread.syscall("munmap", start, end - start)
            raise
        return True

    def _move(self, addr: int, old: int, new: int, target: int, keep: bool) -> int:
        if target:
            reserve(self._thread, target, new, MAP_FIXED)
        else:
            target = reserve_somewhere(self._kernel.window, self._space, self._thread, new)
        fault_handler = self._space.fault_handler
        protected = (
            fault_handler.protected(addr, addr + old) if fault_handler is not None else set()
        )
        try:
            places = range(addr, addr + old), range(target, target + new)
            moved = self._space.move(self._task, self._area, *places, keep)
        except OSError:
            self._thread.syscall("munmap", target, new)
            raise
        self._move_pieces(moved, addr, addr + old, target - addr)
        self._area = moved
        if moved.faults and fault_handler is not None:
            fault_handler.reserve(moved, moved.holes(target, target + old))
            fault_handler.protect(page + target - addr for page in protected)
        self._fill(target + old, target + new)
        if keep:
            left = self._space.find(addr)
            if left is not None:
                reserve(self._thread, addr, old, MAP_FIXED)
                self._area = left
                self._fill(addr, addr + old)
        self._space.seen = self._space.seen and self._kernel.window.holds(target, target + new)
        return target

    def _move_pieces(self, moved: DeviceArea, start: int, end: int, shift: int) -> None:
        """Move the real areas of [`start`, `end`); what is reserved for faults is reserved anew.

        The kernel would join that with what is reserved beside its new place, and then tell of
        touches of neither.
        """
        pieces = self._pieces(start, end)
        if moved.faults:
            for first, last in pieces:
                if not moved.is_mapped(first + shift, first + shift + PAGE_SIZE):
                    self._thread.syscall("munmap", first, last - first)
            pieces = [
                (first, last) for first, last in pieces
                if moved.is_mapped(first + shift, first + shift + PAGE_SIZE)
            ]  # fmt: skip
        move_pieces(self._thread, pieces, shift)

    def _pieces(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the real areas of [`start`, `end`)."""
        return [
            (max(line.start, start), min(line.end, end))
            for line in read_maps(self._thread.tid)
            if line.start < end and start < line.end
        ]

    def _fill(self, start: int, end: int) -> None:
        """Make the new part of the area one where nothing is mapped yet."""
        fault_handler = self._space.fault_handler
        if start < end and self._area.faults and fault_handler is not None:
            fault_handler.fill(self._area, start, end)
        elif start < end:
            map_frames(self._injection, self._area.piece(start, end))


HANDLERS: dict[str, Handler] = {"mremap": _do_mremap}
