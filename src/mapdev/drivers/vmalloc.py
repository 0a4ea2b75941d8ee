"""Vmalloc: scattered frames that look like one piece.

A long row of free frames is hard to find on a machine that has run for a while. vmalloc takes
single frames from anywhere and makes them neighbours by address only: it writes them into the
kernel's own page table, one after the other. So an address says nothing about the frame any more,
`virt_to_phys` would be wrong, and each page must be looked up by `vmalloc_to_pfn`.

For an mmap the driver does in the client's page table what vmalloc did in the kernel's: it goes
through the pages and maps each frame where the client expects it, by a `remap_pfn_range` of one
page. (`remap_vmalloc_range` does it in one call, for memory from `vmalloc_user`.)

A private mapping that could be written (MAP_PRIVATE) fails with EINVAL: `remap_pfn_range` allows
that for a whole area only. `contiguous` maps all of it at once, so there it works.
"""

from __future__ import annotations

from mapdev.driver import parse_size
from mapdev.drivers._buffer import Buffer
from mapdev.linux import (
    PAGE_ALIGN,
    PAGE_SHIFT,
    PAGE_SIZE,
    File,
    VmAreaStruct,
    remap_pfn_range,
    vmalloc_to_pfn,
    vzalloc,
)


class Vmalloc(Buffer):
    """A buffer of virtually contiguous memory."""

    def probe(self, size: int | str = "64K") -> None:
        """Allocate the buffer.

        :param size: bytes, rounded up to whole pages.
        :raises OSError: ENOMEM, there are not so many free frames.
        """
        size = PAGE_ALIGN(parse_size(size, "size"))
        self.use(vzalloc(size), size)

    def fsync(self, file: File, start: int, end: int, datasync: bool) -> None:
        """Do nothing: what was written is where all see it. msync(2) of a mapping ends here too."""

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Map the frames one by one.

        :raises OSError: EINVAL, the area reaches past the end, or is private and writable.
        """
        self.check_range(vma)
        address = self.address + (vma.vm_pgoff << PAGE_SHIFT)
        for user in range(vma.vm_start, vma.vm_end, PAGE_SIZE):
            pfn = vmalloc_to_pfn(address)
            remap_pfn_range(vma, user, pfn, PAGE_SIZE, vma.vm_page_prot)
            address += PAGE_SIZE
