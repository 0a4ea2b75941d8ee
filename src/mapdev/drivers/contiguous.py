"""Contiguous: frames in a row, and one call that maps them all.

kmalloc gives memory whose frames follow each other, so the device is described by one number: the
number of its first frame. That is what DMA engines without an IOMMU need, and what drivers for
them give to programs: a camera's capture buffer, the shared memory of a coprocessor.

An mmap of it is one `remap_pfn_range`. The driver works out which frame the area begins with, which
is the buffer's first one plus the offset that the client gave, in pages both. The kernel then fills
in the page table, one entry a page, and is done: no page fault of this area will ever reach the
driver.

Compare with `vmalloc`, which is the same device on memory whose frames are anywhere.
"""

from __future__ import annotations

from mapdev.driver import parse_size
from mapdev.drivers._buffer import Buffer
from mapdev.linux import (
    GFP_KERNEL,
    PAGE_ALIGN,
    PAGE_SHIFT,
    File,
    VmAreaStruct,
    kzalloc,
    remap_pfn_range,
    virt_to_phys,
)


class Contiguous(Buffer):
    """A buffer of physically contiguous memory."""

    def probe(self, size: int | str = "64K") -> None:
        """Allocate the buffer.

        :param size: bytes, rounded up to whole pages: a mapping shows whole pages, so that the
            rest of the last one must be the device's own.
        :raises OSError: ENOMEM, there are not so many free frames in a row.
        """
        size = PAGE_ALIGN(parse_size(size, "size"))
        self.use(kzalloc(size, GFP_KERNEL), size)

    def fsync(self, file: File, start: int, end: int, datasync: bool) -> None:
        """Do nothing: what was written is where all see it. msync(2) of a mapping ends here too."""

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Map the frames that the area asks for, all at once.

        :raises OSError: EINVAL, the area reaches past the end.
        """
        self.check_range(vma)
        pfn = (virt_to_phys(self.address) >> PAGE_SHIFT) + vma.vm_pgoff
        remap_pfn_range(vma, vma.vm_start, pfn, vma.vm_end - vma.vm_start, vma.vm_page_prot)
