"""The vmalloc area: a range of addresses in which scattered frames appear in a row.

The range is reserved once without memory behind it. An area takes a stretch of it plus one guard
page, and each run of frames is mapped there from the machine's file. A freed area's
addresses are replaced by private zeros rather than by nothing, so that a view which a driver kept
by mistake is harmless to the host, and they are reused as late as possible. This module knows
addresses only; frames are frames.py's. No lock: the caller holds the host's.
"""

import ctypes
import errno
import mmap
import os
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress

from mapdev.host.embedded.memory.store import Store, address_of
from mapdev.linux.numbers import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MAP_SHARED,
    PAGE_SHIFT,
    PAGE_SIZE,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
)

_READ_WRITE = PROT_READ | PROT_WRITE
_NOTHING = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED
_FRAMES = MAP_SHARED | MAP_FIXED
_MAX_SPAN = 1 << 36
MAX_RUNS = 16384  # a quarter of the default of vm.max_map_count

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_size_t
_mmap.argtypes = (
    ctypes.c_size_t,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
_FAILED = ctypes.c_size_t(-1).value


def _map(addr: int, length: int, prot: int, flags: int, fd: int, offset: int) -> None:
    if _mmap(addr, length, prot, flags, fd, offset) != _FAILED:
        return
    error = ctypes.get_errno()
    advice = ""
    if error == errno.ENOMEM:
        advice = " (one mapping a run of frames: vm.max_map_count may be too low)"
    raise OSError(error, f"mapping frames into the vmalloc area: {os.strerror(error)}{advice}")


class VmallocArea:
    """A stretch of addresses in use: the kernel's ``struct vm_struct``."""

    __slots__ = ("_last", "addr", "flags", "heads", "order", "owner", "size")

    def __init__(
        self, addr: int, size: int, heads: list[int], order: int, flags: int, owner: int
    ) -> None:
        """Describe an area of ``size`` bytes, a whole number of pages."""
        self.addr = addr
        self.size = size
        self.heads = heads  # the blocks of frames behind it, each of 1 << order but maybe the last
        self.order = order
        self.flags = flags
        self.owner = owner  # a number that frames.py gives
        self._last: tuple[tuple[int, int], list[tuple[int, int]]] = (0, 0), []

    @property
    def end(self) -> int:
        """The first address after the guard page."""
        return self.addr + self.size + PAGE_SIZE

    def pfn_at(self, addr: int) -> int:
        """Give the frame behind an address of the area."""
        page = addr - self.addr >> PAGE_SHIFT
        return self.heads[page >> self.order] + (page & (1 << self.order) - 1)

    def runs(self, first: int, nr_pages: int) -> Sequence[tuple[int, int]]:
        """Give the runs of frames (pfn, length) behind some pages, neighbours joined."""
        if self._last[0] != (first, nr_pages):  # frames never change, and are mapped again
            self._last = (first, nr_pages), self._find_runs(first, nr_pages)
        return self._last[1]

    def _find_runs(self, first: int, nr_pages: int) -> list[tuple[int, int]]:
        full, found = 1 << self.order, []
        begin = end = -1
        for head in self.heads[first >> self.order : (first + nr_pages - 1 >> self.order) + 1]:
            if head != end:
                found.append((begin, end - begin))
                begin = head
            end = head + full
        found = [*found[1:], (begin, end - begin)]
        # The first and the last block may be wanted in part only.
        skipped = first & full - 1
        found[0] = found[0][0] + skipped, found[0][1] - skipped
        surplus = -(first + nr_pages) & full - 1
        found[-1] = found[-1][0], found[-1][1] - surplus
        return found


class VmallocSpace:
    """The range and the areas in it."""

    __slots__ = ("_areas", "_cursor", "_range", "_starts", "_store", "end", "start")

    def __init__(self, store: Store, memory_size: int) -> None:
        """Reserve the range.

        :raises OSError: ENOMEM, no room for the addresses
        """
        self._store = store
        span = max(2 * memory_size, min(16 * memory_size, _MAX_SPAN))
        # Writable for a moment, as Python takes that for the access of views for ever.
        flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        self._range = mmap.mmap(-1, span, flags=flags)
        self.start = address_of(self._range)
        self.end = self.start + span
        _map(self.start, span, PROT_NONE, _NOTHING, -1, 0)
        self._starts: list[int] = []  # sorted
        self._areas: dict[int, VmallocArea] = {}
        self._cursor = self.start + PAGE_SIZE  # where the next area goes if there is room

    def __contains__(self, addr: int) -> bool:
        """Tell whether an address lies in the range."""
        return self.start <= addr < self.end

    def areas(self) -> list[VmallocArea]:
        """Give all areas, sorted by address."""
        return [self._areas[start] for start in self._starts]

    def starting_at(self, addr: int, what: str) -> VmallocArea:
        """Give the area that starts at an address; EINVAL when none does."""
        area = self._areas.get(addr)
        if area is None:
            raise OSError(errno.EINVAL, f"{what}: no vmalloc area starts at {addr:#x}")
        return area

    def holding(self, addr: int) -> VmallocArea | None:
        """Give the area that an address lies in, its guard page not included."""
        at = bisect_right(self._starts, addr)
        if at:
            area = self._areas[self._starts[at - 1]]
            if addr < area.addr + area.size:
                return area
        return None

    def map(
        self, heads: list[int], order: int, nr_pages: int, flags: int, owner: int
    ) -> VmallocArea:
        """Show blocks of frames in a row; nothing is left behind when that fails."""
        size = nr_pages << PAGE_SHIFT
        addr = self._find(size + PAGE_SIZE)
        area = VmallocArea(addr, size, heads, order, flags, owner)
        fd = self._store.fd
        try:
            _map(addr + size, PAGE_SIZE, PROT_NONE, _NOTHING, -1, 0)
            at = addr
            for pfn, count in area.runs(0, nr_pages):
                length = count << PAGE_SHIFT
                _map(at, length, _READ_WRITE, _FRAMES, fd, pfn << PAGE_SHIFT)
                at += length
        except OSError:
            _map(addr, size + PAGE_SIZE, PROT_NONE, _NOTHING, -1, 0)
            raise
        self._starts.insert(bisect_right(self._starts, addr), addr)
        self._areas[addr] = area
        self._cursor = area.end
        return area

    def unmap(self, area: VmallocArea) -> None:
        """Take an area away; its frames are the caller's again."""
        try:
            _map(area.addr, area.size + PAGE_SIZE, _READ_WRITE, _NOTHING, -1, 0)
        except OSError:  # strict overcommit: then there is nothing there
            _map(area.addr, area.size + PAGE_SIZE, PROT_NONE, _NOTHING, -1, 0)
        del self._areas[area.addr]
        del self._starts[bisect_right(self._starts, area.addr) - 1]

    def view(self, addr: int, size: int) -> memoryview:
        """Give a writable view of addresses that the caller has checked."""
        offset = addr - self.start
        return memoryview(self._range)[offset : offset + size]

    def close(self) -> None:
        """Give the range back; it goes with the last view of it."""
        self._areas.clear()
        self._starts.clear()
        with suppress(BufferError):  # somebody has a view: the mapping goes with the last one
            self._range.close()

    def _find(self, length: int) -> int:
        """Find room for an area and its guard page; after the last one if possible (ENOMEM)."""
        for addr in (self._cursor, self.start + PAGE_SIZE):
            at = bisect_right(self._starts, addr)
            if at:
                addr = max(addr, self._areas[self._starts[at - 1]].end)
            while addr + length <= self.end:
                if at == len(self._starts) or addr + length <= self._starts[at]:
                    return addr
                addr = self._areas[self._starts[at]].end
                at += 1
        raise OSError(errno.ENOMEM, f"vmalloc: no room for {length} bytes of addresses")
