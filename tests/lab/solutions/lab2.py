"""Exercise 2, finished."""

import errno

from mapdev import Driver
from mapdev.linux import (
    PAGE_SHIFT,
    PAGE_SIZE,
    File,
    VmAreaStruct,
    remap_pfn_range,
    vfree,
    vma_pages,
    vmalloc_to_pfn,
    vzalloc,
)

SIZE = 16 * PAGE_SIZE


class Lab(Driver):
    def probe(self) -> None:
        self.address = vzalloc(SIZE)

    def remove(self) -> None:
        vfree(self.address)

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        if vma.vm_pgoff + vma_pages(vma) > SIZE >> PAGE_SHIFT:
            raise OSError(errno.EINVAL, "past the end")
        address = self.address + (vma.vm_pgoff << PAGE_SHIFT)
        for user in range(vma.vm_start, vma.vm_end, PAGE_SIZE):
            pfn = vmalloc_to_pfn(address)
            remap_pfn_range(vma, user, pfn, PAGE_SIZE, vma.vm_page_prot)
            address += PAGE_SIZE
