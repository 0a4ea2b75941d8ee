"""Exercise 5, finished."""

import errno

from mapdev import Driver
from mapdev.linux import (
    GFP_KERNEL,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_MAYWRITE,
    VM_SHARED,
    VM_WRITE,
    File,
    VmAreaStruct,
    kfree,
    kzalloc,
    remap_pfn_range,
    virt_to_phys,
    vm_flags_clear,
    vma_pages,
)

SIZE = 4 * PAGE_SIZE


class Lab(Driver):
    def probe(self) -> None:
        self.address = kzalloc(SIZE, GFP_KERNEL)

    def remove(self) -> None:
        kfree(self.address)

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        if vma.vm_pgoff + vma_pages(vma) > SIZE >> PAGE_SHIFT:
            raise OSError(errno.EINVAL, "past the end")
        if vma.vm_flags & VM_SHARED:
            if vma.vm_flags & VM_WRITE:
                raise OSError(errno.EACCES, "shared for reading only")
            vm_flags_clear(vma, VM_MAYWRITE)
        pfn = (virt_to_phys(self.address) >> PAGE_SHIFT) + vma.vm_pgoff
        size = vma.vm_end - vma.vm_start
        remap_pfn_range(vma, vma.vm_start, pfn, size, vma.vm_page_prot)
