"""What the page table of a live process holds, as /proc/PID/pagemap tells.

`read_pagemap` reads one entry a page; `scan` asks PAGEMAP_SCAN which ranges have any, so that a
sparse area of terabytes costs nothing. Neither changes the process.

Source: Documentation/admin-guide/mm/pagemap.rst, PAGEMAP_SCAN(2const), include/uapi/linux/fs.h
"""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from mapdev.linux.ioctl_numbers import _IOWR
from mapdev.linux.numbers import PAGE_SHIFT, PAGE_SIZE

__all__ = ["PAGE_CATEGORIES", "PagemapEntry", "Region", "read_pagemap", "scan"]

_PFN = (1 << 55) - 1
_SOFT_DIRTY, _EXCLUSIVE, _UFFD_WP, _GUARD = 1 << 55, 1 << 56, 1 << 57, 1 << 58
_FILE, _SWAPPED, _PRESENT = 1 << 61, 1 << 62, 1 << 63
_CHUNK = 1 << 16  # pages that are read at a time

PAGE_CATEGORIES = (
    "PAGE_IS_WPALLOWED", "PAGE_IS_WRITTEN", "PAGE_IS_FILE", "PAGE_IS_PRESENT", "PAGE_IS_SWAPPED",
    "PAGE_IS_PFNZERO", "PAGE_IS_HUGE", "PAGE_IS_SOFT_DIRTY", "PAGE_IS_GUARD",
)  # fmt: skip
"""The bits of `Region.categories`, from bit 0 on."""
_ARGUMENTS = 12  # numbers of 8 bytes in struct pm_scan_arg
_PAGEMAP_SCAN = _IOWR("f", 16, 8 * _ARGUMENTS)
_REGIONS = 1024  # that fit into the answer
_HERE = sum(
    1 << PAGE_CATEGORIES.index(f"PAGE_IS_{name}") for name in ("PRESENT", "SWAPPED", "GUARD")
)
_ALL = (1 << len(PAGE_CATEGORIES)) - 1
_BEFORE_6_15 = _ALL >> 1  # there were no guard pages


class PagemapEntry(NamedTuple):
    """One entry of /proc/PID/pagemap: a page at address `addr` (bytes).

    :ivar addr: the user address.
    :ivar value: the 64 bits as the kernel gives them.
    """

    addr: int
    value: int

    @property
    def is_present(self) -> bool:
        """Whether the page table has a frame for the page."""
        return bool(self.value & _PRESENT)

    @property
    def is_swapped(self) -> bool:
        """Whether the page is in a swap area, or on its way to another frame."""
        return bool(self.value & _SWAPPED)

    @property
    def is_file(self) -> bool:
        """Whether the page is one of a file, or anonymous and shared."""
        return bool(self.value & _FILE)

    @property
    def is_exclusive(self) -> bool:
        """Whether no other page table has the frame."""
        return bool(self.value & _EXCLUSIVE)

    @property
    def pfn(self) -> int | None:
        """The number of its frame; None if there is none, or it may not be seen.

        The kernel hides it from who has no CAP_SYS_ADMIN.
        """
        return self.value & _PFN or None if self.value & _PRESENT else None

    @property
    def swap(self) -> tuple[int, int] | None:
        """Type and offset of the swap entry; None if there is none, or they may not be seen."""
        if not self.value & _SWAPPED or not self.value & _PFN:
            return None
        return self.value & 31, (self.value & _PFN) >> 5

    @property
    def names(self) -> tuple[str, ...]:
        """What the bits above the number say, in the words of the kernel's documentation."""
        bits = (
            (_PRESENT, "present"), (_SWAPPED, "swapped"), (_FILE, "file/shared-anon"),
            (_EXCLUSIVE, "exclusive"), (_UFFD_WP, "uffd-wp"), (_GUARD, "guard"),
            (_SOFT_DIRTY, "soft-dirty"),
        )  # fmt: skip
        return tuple(name for bit, name in bits if self.value & bit)


class Region(NamedTuple):
    """Pages in a row of the same categories: addresses in bytes, half-open, ``1 << n`` bits.

    `PAGE_CATEGORIES` names the bits.
    """

    start: int
    end: int
    categories: int

    @property
    def names(self) -> tuple[str, ...]:
        """The categories by name."""
        return tuple(name for bit, name in enumerate(PAGE_CATEGORIES) if self.categories & 1 << bit)


def _open(pid: int | str) -> int:
    return os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)


def read_pagemap(
    pid: int | str, start: int, end: int, *, all: bool = False
) -> Iterator[PagemapEntry]:
    """Yield the pages of process `pid` at addresses `start` to `end`.

    :param all: those with nothing in the page table too.
    :raises OSError: ENOENT no such process, EACCES or EPERM not allowed to look, ESRCH it has ended
        or has no address space.
    """
    descriptor = _open(pid)
    try:
        regions = None if all else _scan(descriptor, start, end)
        if regions is None:
            regions = [Region(start, end, 0)]
        for first, last, _ in regions:
            yield from _entries(descriptor, first, last, all)
    finally:
        os.close(descriptor)


def _entries(descriptor: int, start: int, end: int, all: bool) -> Iterator[PagemapEntry]:
    for addr in range(start, end, _CHUNK << PAGE_SHIFT):
        count = min(_CHUNK, end - addr >> PAGE_SHIFT)
        data = os.pread(descriptor, 8 * count, addr >> PAGE_SHIFT << 3)
        for index, value in enumerate(array("Q", data)):
            if all or value & (_PRESENT | _SWAPPED | _GUARD):
                yield PagemapEntry(addr + index * PAGE_SIZE, value)


def scan(pid: int | str, start: int, end: int) -> list[Region] | None:
    """Return the ranges of process `pid` with pages that are present, swapped, or guards.

    :return: None where the kernel has no PAGEMAP_SCAN (before 6.7).
    :raises OSError: as for `read_pagemap`.
    """
    descriptor = _open(pid)
    try:
        return _scan(descriptor, start, end)
    finally:
        os.close(descriptor)


def _scan(descriptor: int, start: int, end: int, categories: int = _ALL) -> list[Region] | None:
    import fcntl

    found: list[Region] = []
    answer = array("Q", bytes(8 * 3 * _REGIONS))
    vec, _ = answer.buffer_info()
    while start < end:
        # size, flags, start, end, walk_end, vec, vec_len, max_pages, then four masks: inverted,
        # all of these, any of these, those to be told
        arguments = array("Q", (
            8 * _ARGUMENTS, 0, start, end, 0, vec, _REGIONS, 0,
            0, 0, _HERE & categories, categories,
        ))  # fmt: skip
        try:
            count = fcntl.ioctl(descriptor, _PAGEMAP_SCAN, arguments)
        except OSError as error:
            if error.errno == errno.EINVAL and categories == _ALL:
                return _scan(descriptor, start, end, _BEFORE_6_15)
            if error.errno in (errno.ENOTTY, errno.EINVAL):
                return None
            raise
        numbers = answer[: 3 * count]
        found += map(Region, numbers[::3], numbers[1::3], numbers[2::3])
        start = arguments[4]
    return found
