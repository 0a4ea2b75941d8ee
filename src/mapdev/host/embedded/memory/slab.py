"""kmalloc below a page: objects of a few sizes, cut from single pages.

A page holds objects of one size and one owner, so that what one device maps never shows another
device's data. It is allocated with its first object and freed with its last. No lock: the caller
holds the host's.
"""

import errno

from mapdev.host.embedded.memory import mem_map as mm
from mapdev.host.embedded.memory.frames import Frames
from mapdev.linux.numbers import PAGE_SHIFT, PAGE_SIZE

SIZES = tuple(
    size for size in (8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048) if size <= PAGE_SIZE // 2
)


class SlabPage:
    """A page of objects of one size."""

    __slots__ = ("free", "live", "owner", "pfn", "size")

    def __init__(self, pfn: int, size: int, owner: int) -> None:
        """Begin with all objects free."""
        self.pfn = pfn
        self.size = size
        self.owner = owner
        self.free = list(range(PAGE_SIZE - PAGE_SIZE % size - size, -1, -size))  # offsets
        self.live: set[int] = set()


class Slab:
    """All pages of small objects, by the frame they lie in."""

    __slots__ = ("_frames", "_partial", "pages")

    def __init__(self, frames: Frames) -> None:
        """Begin empty."""
        self._frames = frames
        self.pages: dict[int, SlabPage] = {}
        # Pages with room, by owner and size; the keys of a dictionary as an ordered set.
        self._partial: dict[tuple[int, int], dict[int, bool]] = {}

    def alloc(self, size: int, owner: int) -> int:
        """Allocate an object; gives its physical address (ENOMEM)."""
        size = next(cached for cached in SIZES if size <= cached)
        partial = self._partial.setdefault((owner, size), {})
        if partial:
            page = self.pages[next(reversed(partial))]
        else:
            page = SlabPage(self._frames.alloc(0, mm.SLAB, owner), size, owner)
            self.pages[page.pfn] = page
            partial[page.pfn] = True
        offset = page.free.pop()
        page.live.add(offset)
        if not page.free:
            del partial[page.pfn]
        return (page.pfn << PAGE_SHIFT) + offset

    def find(self, address: int) -> SlabPage | None:
        """Give the page in which a live object starts at a physical address."""
        page = self.pages.get(address >> PAGE_SHIFT)
        if page is not None and address - (page.pfn << PAGE_SHIFT) in page.live:
            return page
        return None

    def free(self, address: int) -> None:
        """Free the live object at a physical address; EINVAL when there is none."""
        page = self.find(address)
        if page is None:
            raise OSError(
                errno.EINVAL, f"kfree: double free, or no object starts at {address:#x} (physical)"
            )
        offset = address - (page.pfn << PAGE_SHIFT)
        page.live.remove(offset)
        page.free.append(offset)
        partial = self._partial[page.owner, page.size]
        if page.live:
            partial[page.pfn] = True
        else:
            partial.pop(page.pfn, None)  # not there when the page held one object only
            del self.pages[page.pfn]
            self._frames.drop((page.pfn,))

    def covers(self, address: int, size: int) -> bool:
        """Tell whether a stretch of physical addresses lies inside one live object."""
        page = self.pages.get(address >> PAGE_SHIFT)
        if page is None:
            return False
        offset = address - (page.pfn << PAGE_SHIFT)
        start = offset - offset % page.size
        return start in page.live and offset + size <= start + page.size

    def owned_by(self, owner: int) -> list[tuple[int, int]]:
        """Give physical address and size of each object of an owner."""
        return [
            ((page.pfn << PAGE_SHIFT) + offset, page.size)
            for page in self.pages.values()
            if page.owner == owner
            for offset in sorted(page.live)
        ]
