"""The pages of a live process with their frames, and the other processes that map them.

`read_pages` puts pagemap, kpageflags and kpagecount together; `find_sharers` looks through all
processes for the same frames. Both read /proc only. What needs CAP_SYS_ADMIN is None without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mapdev.inspect.kpage import FrameFiles, flag_names
from mapdev.inspect.maps import MapsLine, read_maps
from mapdev.inspect.pagemap import PagemapEntry, read_pagemap
from mapdev.linux.numbers import PAGE_SHIFT

__all__ = ["LivePage", "Sharer", "find_sharers", "read_pages"]


class LivePage(NamedTuple):
    """A page of a process.

    :ivar entry: what pagemap says: address, frame number, whether it is present.
    :ivar offset: byte of the file that it shows; None for a page that is none of a file.
    :ivar flags: names of the frame's flags in kpageflags; None: hidden, or there is no frame.
    :ivar mapcount: how often page tables have the frame, from kpagecount; None as for `flags`.
    """

    entry: PagemapEntry
    offset: int | None
    flags: tuple[str, ...] | None
    mapcount: int | None


class Sharer(NamedTuple):
    """Another place where a frame is mapped: process and address (bytes)."""

    pid: int
    addr: int


def read_pages(
    pid: int | str, area: MapsLine, start: int = 0, end: int = 1 << 64, *, all: bool = False
) -> list[LivePage]:
    """Return the pages of `area` of process `pid` from address `start` to `end`.

    :param all: those for which the page table has nothing too.
    :raises OSError: as for `read_pagemap`.
    """
    start, end = max(start, area.start), min(end, area.end)
    entries = list(read_pagemap(pid, start, end, all=all))
    frames: dict[int, tuple[int, int]] = {}
    pfns = [entry.pfn for entry in entries if entry.pfn is not None]
    if pfns:
        try:
            with FrameFiles() as files:
                frames = files.of(pfns)
        except OSError:
            pass  # not for us, or not in this kernel
    return [_page(entry, area, frames) for entry in entries]


def _page(entry: PagemapEntry, area: MapsLine, frames: dict[int, tuple[int, int]]) -> LivePage:
    is_file = area.inode != 0 and (entry.is_file or not entry.is_present)
    offset = entry.addr - area.start + area.offset if is_file else None
    flags, mapcount = frames.get(entry.pfn or 0, (None, None))
    return LivePage(entry, offset, None if flags is None else flag_names(flags), mapcount)


def find_sharers(
    pid: int, area: MapsLine, pages: Sequence[LivePage]
) -> dict[int, list[Sharer]]:  # fmt: skip
    """Find the other mappings of the frames of `pages`, by the pages' addresses.

    Two pages of one file at one offset have one frame, which is known without a privilege. Of
    others the frame numbers are compared, where they may be seen: in areas of the same address, as
    fork leaves them, and in all areas of the process itself. Processes that may not be looked at
    are left out: `LivePage.mapcount` tells how many there are.
    """
    by_offset = {page.offset: page for page in pages
                 if page.offset is not None and page.entry.is_present}  # fmt: skip
    by_pfn = {page.entry.pfn: page for page in pages if page.entry.pfn is not None}
    found: dict[int, list[Sharer]] = {}
    if not by_offset and not by_pfn:
        return found
    for other in _processes():
        try:
            for line in read_maps(other):
                for entry in _candidates(other, pid, area, pages, line):
                    page = by_pfn.get(entry.pfn) if entry.pfn is not None else None
                    if page is None and entry.is_file and _is_same_file(area, line):
                        page = by_offset.get(entry.addr - line.start + line.offset)
                    if page is not None and (other, entry.addr) != (pid, page.entry.addr):
                        found.setdefault(page.entry.addr, []).append(Sharer(other, entry.addr))
        except OSError:
            continue  # it has ended, or may not be looked at
    return found


def _processes() -> Iterable[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208


def _is_same_file(area: MapsLine, line: MapsLine) -> bool:
    return area.inode != 0 and (line.dev, line.inode) == (area.dev, area.inode)


def _candidates(
    other: int, pid: int, area: MapsLine, pages: Sequence[LivePage], line: MapsLine
) -> list[PagemapEntry]:
    """Return the present pages of `line` that may have one of the frames."""
    first, last = pages[0].entry.addr, pages[-1].entry.addr + (1 << PAGE_SHIFT)
    if _is_same_file(area, line):
        shift = line.start - line.offset - (area.start - area.offset)
        start, end = max(line.start, first + shift), min(line.end, last + shift)
    elif not area.inode and not line.inode and other != pid:
        start, end = max(line.start, first), min(line.end, last)
    else:
        return []
    if start >= end:
        return []
    return [entry for entry in read_pagemap(other, start, end) if entry.is_present]
