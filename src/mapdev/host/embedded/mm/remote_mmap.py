"""mmap(2) in a client: reserve a range, map frames over it, move what is mapped.

Frames are mapped from physical memory's memfd, of which the client gets a descriptor for that
(`Injection.memory_fd`). What the driver left out is mapped from beyond the memfd's end, so that a
touch is SIGBUS.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from mapdev.host.embedded.inject.batch import CallError, Request, pack, pack_mmaps
from mapdev.host.embedded.inject.injection import Injection
from mapdev.host.embedded.inject.thread import StoppedThread
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.mm.window import Window
from mapdev.host.numbers import MREMAP_FIXED, MREMAP_MAYMOVE, ULONG_MAX
from mapdev.linux.numbers import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MAP_SHARED,
    PAGE_SHIFT,
    PROT_NONE,
    VM_EXEC,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_READ,
    VM_WRITE,
)
from mapdev.linux.vma import VmAreaStruct

_GAPS = [1 << 20, 1 << 24, 1 << 28, 1 << 32]  # bytes to the area before: no neighbours by chance


class PlaceTaken(OSError):  # noqa: N818 - a condition of the client
    """EEXIST: the range that the host chose is not free in the client."""


def reserve(thread: StoppedThread, addr: int, length: int, flags: int) -> int:
    """Make an inaccessible area and return its address; `flags` say where it may be.

    :raises OSError: as mmap(2): ENOMEM, EEXIST, EPERM, EAGAIN.
    """
    name, args, descriptor = _reserving(addr, length, flags)
    return thread.syscall(name, *args, descriptor=descriptor)


def _reserving(addr: int, length: int, flags: int) -> Request:
    how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags
    return "mmap", (addr, length, PROT_NONE, how, ULONG_MAX, 0), 4


def places(window: Window, space: MmAreas, length: int) -> list[int]:
    """Return addresses in the window at which nothing should be mapped, the best one first."""
    above = max(window.first, space.highest(window.last))
    return [above + gap for gap in _GAPS if above + gap + length <= window.last]


def reserve_somewhere(
    window: Window, space: MmAreas, thread: StoppedThread, length: int, flags: int = 0
) -> int:
    """Make an inaccessible area in the window, or where there is room; return its address.

    :raises OSError: as mmap(2): ENOMEM, EPERM, EAGAIN.
    """
    for place in places(window, space, length):
        try:
            return reserve(thread, place, length, flags | MAP_FIXED_NOREPLACE)
        except OSError as error:  # of what a munmap is about to end we know no more
            if error.errno != errno.EEXIST:
                raise
    return reserve(thread, 0, length, flags)


def map_frames(
    injection: Injection, vma: VmAreaStruct, flags: int = 0, new: bool = False,
    count: Callable[[int], None] | None = None,
) -> None:  # fmt: skip
    """Map all of `vma` in the client: the runs that are noted in it, and SIGBUS elsewhere.

    :param flags: MAP_POPULATE or 0.
    :param new: nothing is reserved there, and nothing is left there if it fails.
    :param count: counts the mapping, given the index of the description that is mapped. That takes
        a while for many runs, so it is done meanwhile; if mapping fails then, the description ends.
    :raises PlaceTaken: something is mapped there; only if `new`.
    :raises OSError: as mmap(2).
    """
    memory_fd = injection.memory_fd(may_be_written(vma))
    how = (MAP_SHARED if vma.vm_flags & VM_MAYSHARE else MAP_PRIVATE) | MAP_NORESERVE | flags
    prot = vma.vm_flags & (VM_READ | VM_WRITE | VM_EXEC)  # the same bits as PROT_*
    mark = injection.injector.secret << 32
    start, length = vma.vm_start, vma.vm_end - vma.vm_start
    # A touch of what lies beyond the end of memory is SIGBUS.
    addrs, pfns, counts = _runs(vma, injection.injector.mappings.nr_frames)
    calls = b""
    if new and len(addrs) > 1:
        calls = pack([_reserving(start, length, MAP_FIXED_NOREPLACE)], mark)
    how |= MAP_FIXED_NOREPLACE if new and len(addrs) == 1 else MAP_FIXED
    calls += pack_mmaps(addrs, pfns, counts, prot, how, memory_fd.number, mark)
    try:
        injection.run(
            memory_fd, calls, new, partial(count, memory_fd.index) if count is not None else None
        )
    except CallError as error:
        if new and error.index:
            injection.thread.syscall("munmap", start, length)
        elif new and error.errno == errno.EEXIST:
            injection.renew_memory_fd()  # this one is counted as a mapping, which ends with it
            raise PlaceTaken(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        raise
    except OSError:  # the mapping can't be counted
        if new:
            injection.thread.syscall("munmap", start, length)
        raise


def move_pieces(thread: StoppedThread, pieces: Iterable[tuple[int, int]], shift: int) -> None:
    """Move real areas by `shift` bytes, each to where something inaccessible is in its way."""
    for start, end in pieces:
        length = end - start
        how = MREMAP_MAYMOVE | MREMAP_FIXED
        thread.syscall("mremap", start, length, length, how, start + shift)


def may_be_written(vma: VmAreaStruct) -> bool:
    """Say whether a client may write to the device's memory through the area, now or later."""
    return vma.vm_flags & (VM_MAYWRITE | VM_MAYSHARE) == VM_MAYWRITE | VM_MAYSHARE


def _runs(vma: VmAreaStruct, end_of_memory: int) -> Sequence[Sequence[int]]:
    """Return addresses, first frames and numbers of pages for all of the area, holes included."""
    mapped = sorted(vma.mapped)
    if vma.is_full:
        return list(zip(*mapped, strict=True))[:3]
    at = vma.vm_start
    runs = []
    for addr, pfn, nr_pages, _, _ in mapped:
        if addr > at:
            runs.append((at, end_of_memory, addr - at >> PAGE_SHIFT))
        runs.append((addr, pfn, nr_pages))
        at = addr + (nr_pages << PAGE_SHIFT)
    if at < vma.vm_end:
        runs.append((at, end_of_memory, vma.vm_end - at >> PAGE_SHIFT))
    return list(zip(*runs, strict=True))
