"""Handles system calls on a device's existing areas: munmap, mprotect, madvise, msync, mlock.

The filter hands them over where devices are mapped. What they do to a device's area is decided as
the kernel does, then the kernel carries them out on the real areas, or they are answered here where
the real areas, shared memory, would behave otherwise.

Source: mm/mmap.c, mm/mprotect.c, mm/madvise.c, mm/msync.c, mm/mlock.c
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Callable
from functools import partial

from mapdev.host.core.waiting import WouldWait
from mapdev.host.embedded.arch import NAME_OF
from mapdev.host.embedded.calls.advice import (
    answer_of,
    flags_after,
    is_zap,
)
from mapdev.host.embedded.calls.verdict import ANSWERED, PASS_ON, Handler, Verdict
from mapdev.host.embedded.inject.injection import Injection
from mapdev.host.embedded.limits import limit_of
from mapdev.host.embedded.mm.remote_mmap import map_frames
from mapdev.host.embedded.mm.vma import DeviceArea
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.processes import has_capability
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.numbers import (
    CAP_IPC_LOCK,
    MADV_POPULATE_READ,
    MADV_POPULATE_WRITE,
    MLOCK_ONFAULT,
    MS_ASYNC,
    MS_INVALIDATE,
    MS_SYNC,
    ULONG_MAX,
)
from mapdev.inspect.maps import read_maps
from mapdev.linux.mm import TaskStruct
from mapdev.linux.numbers import (
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    PROT_SEM,
    VM_EXEC,
    VM_IO,
    VM_LOCKED,
    VM_PFNMAP,
    VM_READ,
    VM_SHARED,
    VM_SPECIAL,
    VM_WRITE,
)

_ACCESS = VM_READ | VM_WRITE | VM_EXEC

OnAreas = Callable[[Subsystems, Call, MmAreas, int, int], int | Verdict]


def refused(code: int) -> OSError:
    """Return the error of a call on an area."""
    return OSError(code, os.strerror(code))


def _on_areas(operation: OnAreas, aligned: bool = True) -> Handler:
    """Make a handler of `operation`, called with the range when it has a part of a device's area.

    Arguments that no area could make good are left to the kernel.
    """

    def handle(kernel: Subsystems, call: Call) -> int | Verdict:
        space = kernel.spaces.of(call.tid)
        start, length = call.args[:2]
        if not aligned:
            length += start % PAGE_SIZE
            start &= PAGE_MASK
        end = start + (length + PAGE_SIZE - 1 & PAGE_MASK)
        if space is None or start % PAGE_SIZE or end > ULONG_MAX or start == end:
            return PASS_ON
        if space.hides(start, end) and operation is not _munmap:
            raise refused(errno.ENOMEM)  # nothing is mapped there, for the client
        if not space.overlapping(start, end) and not space.hides(start, end):
            return PASS_ON
        return operation(kernel, call, space, start, end)

    return handle


def _munmap(kernel: Subsystems, call: Call, space: MmAreas, start: int, end: int) -> Verdict:
    if end > kernel.window.task_size:
        return PASS_ON  # the kernel refuses it
    space.check_not_sealed(start, end)
    if space.hides(start, end) and space.fault_handler is None:
        space.give_up_batch()
    if not space.hides(start, end):
        space.unmap(call.task, start, end)
        return PASS_ON
    with Injection(
        kernel.injector, call, "it can't unmap memory around the host's own"
    ) as injection:
        space.unmap(call.task, start, end)
        at = start
        for part in (*space.hidden, range(end, end)):
            if at < min(part.start, end):
                injection.thread.syscall("munmap", at, min(part.start, end) - at)
            at = max(at, part.stop)
        injection.result = 0
    return ANSWERED


def _mprotect(kernel: Subsystems, call: Call, space: MmAreas, start: int, end: int) -> Verdict:
    prot = call.args[2]
    if prot & ~(_ACCESS | PROT_SEM):
        return PASS_ON  # the kernel refuses it
    task = call.task
    for area in space.overlapping(start, end_of_areas(call, start, end)):
        low, high = max(start, area.vm_start), min(end, area.vm_end)
        try:
            _protect(task, space, area, low, high, prot & _ACCESS)
        except OSError:
            if low == start:
                raise
            # What lies before is changed all the same.
            with Injection(
                kernel.injector, call, "its mapping can't be changed in part"
            ) as injection:
                injection.thread.syscall(NAME_OF[call.nr], start, low - start, *call.args[2:4])
                raise
            return ANSWERED
    return PASS_ON


def _protect(
    task: TaskStruct, space: MmAreas, area: DeviceArea, start: int, end: int, access: int
) -> None:
    if access & ~(area.vm_flags >> 4):  # the VM_MAY* bits are 4 above those they allow
        raise refused(errno.EACCES)
    space.tell(task, area, "mprotect", start, end, area.vm_flags & ~_ACCESS | access)
    space.check_not_sealed(start, end)
    space.change(task, start, end, lambda flags: flags & ~_ACCESS | access)


def end_of_areas(call: Call, start: int, end: int) -> int:
    """Return where the areas that begin at `start` without a gap end, at most `end`."""
    at = start
    for line in read_maps(call.tid):
        if line.start <= at < line.end:
            at = line.end
    return min(at, end)


def is_all_ours(space: MmAreas, start: int, end: int) -> bool:
    """Say whether [`start`, `end`) is devices' without a gap."""
    at = start
    for area in space.overlapping(start, end):
        if area.vm_start > at:
            return False
        at = area.vm_end
    return at >= end


def _madvise(kernel: Subsystems, call: Call, space: MmAreas, start: int, end: int) -> int | Verdict:
    advice, task = call.args[2] & 0xFFFFFFFF, call.task
    for area in space.overlapping(start, end):
        code = answer_of(advice, area.vm_flags)
        if code is None:
            return PASS_ON  # the kernel knows what it is
        if code:
            raise refused(code)
    change = flags_after(advice)
    if change is not None:
        space.change(task, start, end, change)
        return PASS_ON
    if not is_all_ours(space, start, end):
        return PASS_ON
    if advice in (MADV_POPULATE_READ, MADV_POPULATE_WRITE):
        return _populate(kernel, call, space, start, end, advice == MADV_POPULATE_WRITE)
    if is_zap(advice):
        return _zap(kernel, call, space, start, end)
    return 0


def _populate(
    kernel: Subsystems, call: Call, space: MmAreas, start: int, end: int, is_write: bool
) -> int:
    areas = space.overlapping(start, end)
    if not all(area.vm_flags & (VM_WRITE if is_write else VM_READ) for area in areas):
        raise refused(errno.EINVAL)
    kernel.mappings.bring_in(call.tid, start, end - start, is_write)
    for area in areas:
        if any(area.holes(max(start, area.vm_start), min(end, area.vm_end))):
            raise refused(errno.EFAULT)
    return 0


def _zap(kernel: Subsystems, call: Call, space: MmAreas, start: int, end: int) -> int | Verdict:
    """Take the pages away that the driver put in: it is asked again, or there is nothing."""
    areas = space.overlapping(start, end)
    if all(area.faults for area in areas) and space.fault_handler is not None:
        for area in areas:
            space.fault_handler.zap(area, max(start, area.vm_start), min(end, area.vm_end))
        return 0
    with Injection(kernel.injector, call, "its pages can't be taken away") as injection:
        for area in areas:
            low, high = max(start, area.vm_start), min(end, area.vm_end)
            empty = area.piece(low, high)
            empty.forget(low, high)
            map_frames(injection, empty)
            area.forget(low, high)
        injection.result = 0
    return ANSWERED


def _msync(kernel: Subsystems, call: Call, space: MmAreas, start: int, end: int) -> int:
    flags = call.args[2] & 0xFFFFFFFF
    if flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC) or (flags & MS_ASYNC and flags & MS_SYNC):
        raise refused(errno.EINVAL)
    pieces = [
        (area, max(start, area.vm_start), min(end, area.vm_end))
        for area in space.overlapping(start, end)
    ]
    return _sync(kernel, call, flags, pieces, end_of_areas(call, start, end) < end)


def _sync(
    kernel: Subsystems,
    call: Call,
    flags: int,
    pieces: list[tuple[DeviceArea, int, int]],
    is_gap: bool,
) -> int:
    """Sync the `pieces` of areas one after the other; ENOMEM at the end if the range has a gap."""
    while pieces:
        area, start, end = pieces[0]
        if flags & MS_INVALIDATE and area.vm_flags & VM_LOCKED:
            raise refused(errno.EBUSY)
        if flags & MS_SYNC and area.vm_flags & VM_SHARED:
            if not area.open_file.driver.has("fsync"):
                raise refused(errno.EINVAL)
            call.file, call.owner = area.open_file, area.open_file.device.owner
            first = (area.vm_pgoff << PAGE_SHIFT) + start - area.vm_start
            try:
                kernel.operations.fsync(call, True, first, first + end - start - 1)
            except WouldWait as wait:
                wait.again = partial(_sync, kernel, call, flags, pieces, is_gap)
                raise
        del pieces[0]
    if is_gap:
        raise refused(errno.ENOMEM)
    return 0


def _mlock(kernel: Subsystems, call: Call, space: MmAreas, start: int, end: int) -> int | Verdict:
    """Lock: without effect on areas that a driver filled, whose pages can't go away."""
    flags = call.args[2] & 0xFFFFFFFF if NAME_OF[call.nr] == "mlock2" else 0
    if flags & ~MLOCK_ONFAULT or not is_all_ours(space, start, end):
        return PASS_ON
    _check_may_lock(call.tid, end - start)
    areas = space.overlapping(start, end)
    if all(area.vm_flags & VM_SPECIAL for area in areas):
        can_be = all(_can_be_locked(area, start, end) for area in areas)
        if not can_be and not flags & MLOCK_ONFAULT:
            raise refused(errno.ENOMEM)
        return 0
    space.change(call.task, start, end, _locked)
    if not flags & MLOCK_ONFAULT:
        with contextlib.suppress(OSError):  # then the kernel asks for it, and says so
            kernel.mappings.populate(call.tid, start, end)
    return PASS_ON


def _can_be_locked(area: DeviceArea, start: int, end: int) -> bool:
    """Say whether all pages of an area that a driver filled are there; of frames nobody asks.

    Source: mm/gup.c (__mm_populate)
    """
    if area.vm_flags & (VM_IO | VM_PFNMAP):
        return True
    start, end = max(start, area.vm_start), min(end, area.vm_end)
    has_access = bool(area.vm_flags & _ACCESS)
    return has_access and (area.faults or not any(area.holes(start, end)))


def _locked(flags: int) -> int:
    return flags if flags & VM_SPECIAL else flags | VM_LOCKED


def _check_may_lock(tid: int, size: int) -> None:
    limit = limit_of(tid, resource.RLIMIT_MEMLOCK)
    if limit == resource.RLIM_INFINITY or has_capability(tid, CAP_IPC_LOCK):
        return
    if not limit:
        raise refused(errno.EPERM)
    if size > limit:
        raise refused(errno.ENOMEM)


def _munlock(kernel: Subsystems, call: Call, space: MmAreas, start: int, end: int) -> int | Verdict:
    if all(area.vm_flags & VM_SPECIAL for area in space.overlapping(start, end)):
        return 0 if is_all_ours(space, start, end) else PASS_ON
    space.change(call.task, start, end, lambda flags: flags & ~VM_LOCKED)
    return PASS_ON


HANDLERS: dict[str, Handler] = {
    "munmap": _on_areas(_munmap),
    "mprotect": _on_areas(_mprotect),
    "pkey_mprotect": _on_areas(_mprotect),
    "madvise": _on_areas(_madvise),
    "msync": _on_areas(_msync),
    "mlock": _on_areas(_mlock, aligned=False),
    "mlock2": _on_areas(_mlock, aligned=False),
    "munlock": _on_areas(_munlock, aligned=False),
}
