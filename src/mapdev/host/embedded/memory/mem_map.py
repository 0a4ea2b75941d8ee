"""The state of each frame, in flat arrays indexed by frame number: the kernel's ``mem_map``.

The arrays lie in anonymous mappings that are zero until written, so a large machine costs nothing
until its frames are used. An allocation is described at its first frame, its *head*; its other
frames point there. What the arrays say of a free frame, but for `use` and `dirty`, is stale. This
module only stores: the rules are in frames.py. No lock: the caller holds the host's.
"""

import mmap
import sys
from typing import TYPE_CHECKING

from mapdev.linux.numbers import MAP_ANONYMOUS, MAP_NORESERVE, MAP_PRIVATE

if TYPE_CHECKING:
    IntArray = memoryview[int]

# What a frame is used for. FREE has to be zero, see above.
FREE = 0
RESERVED = 1  # never handed out
HELD = 2  # freed, but a client still maps it
PAGES = 3  # alloc_pages: later frames have no reference count of their own
COMPOUND = 4  # alloc_pages with __GFP_COMP
CONTIG = 5  # alloc_contig
VMALLOC = 6  # behind a vmalloc area
SLAB = 7  # a page of small kmalloc objects
KMALLOC = 8  # kmalloc of pages


def _bytes(count: int) -> mmap.mmap:
    return mmap.mmap(-1, count, flags=MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)


def _ints(count: int) -> "IntArray":
    return memoryview(_bytes(4 * count)).cast("i")


class MemMap:
    """The state of the frames 0 to ``nr_frames - 1``."""

    __slots__ = (
        "dirty",
        "head",
        "holds",
        "length",
        "mapcount",
        "owner",
        "page_refs",
        "refcount",
        "use",
    )

    def __init__(self, nr_frames: int) -> None:
        """Make the map of a machine whose frames are all free."""
        self.use = _bytes(nr_frames)
        self.dirty = _bytes(nr_frames)  # 1: may hold something other than zeros
        self.head = _ints(nr_frames)
        self.mapcount = _ints(nr_frames)  # mappings made by vm_insert_page and the like
        # At heads only:
        self.length = _ints(nr_frames)  # of the allocation, in pages
        self.refcount = _ints(nr_frames)  # without those of mappings
        self.holds = _ints(nr_frames)  # mappings of any kind that show a part of it
        self.owner = _ints(nr_frames)  # a number that frames.py gives
        # References by vm_insert_page mappings, of pages with one count for all, and only if any
        self.page_refs: dict[int, int] = {}

    def mark(self, pfn: int, nr_pages: int, use: int, owner: int) -> None:
        """Note an allocation, with one reference."""
        if nr_pages == 1:
            self.use[pfn] = use
            self.head[pfn] = pfn
        else:
            end = pfn + nr_pages
            self.use[pfn:end] = bytes((use,)) * nr_pages
            self.head[pfn:end] = (memoryview(pfn.to_bytes(4, sys.byteorder) * nr_pages)).cast("i")
        self.length[pfn] = nr_pages
        self.refcount[pfn] = 1
        self.owner[pfn] = owner

    def add_to_mapcounts(self, pfn: int, nr_pages: int, step: int) -> None:
        """Add `step` to the counts of frames in a row, which all stay at zero or above.

        That is one addition: a long number holds all counts side by side, with no carry.
        """
        part = self.mapcount[pfn : pfn + nr_pages]
        counts = int.from_bytes(part, sys.byteorder)
        counts += step * int.from_bytes((1).to_bytes(4, sys.byteorder) * nr_pages, sys.byteorder)
        self.mapcount[pfn : pfn + nr_pages] = memoryview(
            counts.to_bytes(4 * nr_pages, sys.byteorder)
        ).cast("i")

    def set_use(self, pfn: int, nr_pages: int, use: int) -> None:
        """Change what frames are used for, and nothing else."""
        if nr_pages == 1:
            self.use[pfn] = use
        else:
            self.use[pfn : pfn + nr_pages] = bytes((use,)) * nr_pages
