"""Handles mseal of a device's area, and shmat in its place.

A sealed area in the window is sealed by the host alone: the kernel would keep the host's own thread
from mapping pages there, too. munmap, mprotect, mremap and mmap look at VM_SEALED.

Source: mm/mseal.c, ipc/shm.c (do_shmat)
"""

from __future__ import annotations

import os

from mapdev.host.embedded.calls.area import end_of_areas
from mapdev.host.embedded.calls.verdict import ANSWERED, PASS_ON, Handler, Verdict
from mapdev.host.embedded.inject.injection import Injection
from mapdev.host.embedded.mm.vma import VM_SEALED
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.processes import read_file
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.numbers import ULONG_MAX
from mapdev.linux.numbers import PAGE_MASK, PAGE_SIZE

_FIRST = (6, 10)  # the first Linux that has mseal
_SHM_REMAP, _SHM_RND = 0o40000, 0o20000
_SHMLBA = PAGE_SIZE


def _has_mseal() -> bool:
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)) or 0)) >= _FIRST


def _do_mseal(kernel: Subsystems, call: Call) -> Verdict:
    start, length, flags = call.args[:3]
    end = start + (length + PAGE_SIZE - 1 & PAGE_MASK)
    space = kernel.spaces.of(call.tid)
    if space is None or flags or start % PAGE_SIZE or end > ULONG_MAX or not _has_mseal():
        return PASS_ON
    areas = space.overlapping(start, end)
    if not areas or end_of_areas(call, start, end) < end:
        return PASS_ON  # ENOMEM: there is a gap
    space.change(call.task, start, end, lambda old: old | VM_SEALED)
    rest = list(_without(kernel, space, start, end))
    with Injection(kernel.injector, call, "its memory can't be sealed in part") as injection:
        for first, last in rest:
            injection.thread.syscall("mseal", first, last - first, 0)
        injection.result = 0
    return ANSWERED


def _without(kernel: Subsystems, space: MmAreas, start: int, end: int) -> list[tuple[int, int]]:
    """Return what the kernel is to seal in [`start`, `end`): all that the host does not see to."""
    ranges = []
    at = start
    for area in space.overlapping(start, end):
        if area.faults or kernel.window.holds(area.vm_start, area.vm_end):
            if at < area.vm_start:
                ranges.append((at, area.vm_start))
            at = max(at, area.vm_end)
    if at < end:
        ranges.append((at, end))
    return ranges


def _do_shmat(kernel: Subsystems, call: Call) -> Verdict:
    """Note that a segment takes the place of what a device has there; the kernel puts it there."""
    segment, addr, flags = call.args[:3]
    space = kernel.spaces.of(call.tid)
    if space is None or not flags & _SHM_REMAP or not addr:
        return PASS_ON
    if flags & _SHM_RND:
        addr -= addr % _SHMLBA
    size = _size_of_segment(segment & 0xFFFFFFFF)
    if size and not addr % PAGE_SIZE:
        space.unmap(call.task, addr, addr + (size + PAGE_SIZE - 1 & PAGE_MASK))
    return PASS_ON


def _size_of_segment(number: int) -> int:
    for line in read_file("/proc/sysvipc/shm").splitlines()[1:]:
        fields = line.split()
        if int(fields[1]) == number:
            return int(fields[3])
    return 0


HANDLERS: dict[str, Handler] = {"mseal": _do_mseal, "shmat": _do_shmat}
