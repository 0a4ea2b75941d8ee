"""Exercise 8, finished."""

import errno

from mapdev import Driver, parse_size
from mapdev.linux import (
    GFP_KERNEL,
    PAGE_ALIGN,
    PAGE_SHIFT,
    File,
    VmAreaStruct,
    fixed_size_llseek,
    kfree,
    kzalloc,
    memory,
    remap_pfn_range,
    virt_to_phys,
    vma_pages,
)


class Lab(Driver):
    """A buffer to be read, written, sought and mapped."""

    def probe(self, size: int | str = 20000) -> None:
        size = PAGE_ALIGN(parse_size(size))
        self.address = kzalloc(size, GFP_KERNEL)
        self.size = size

    def remove(self) -> None:
        kfree(self.address)

    @property
    def data(self) -> memoryview:
        return memory(self.address, self.size)

    def read(self, file: File, count: int, pos: int) -> memoryview:
        return self.data[pos : pos + count]

    def write(self, file: File, data: bytes, pos: int) -> int:
        if pos >= self.size:
            raise OSError(errno.ENOSPC, "at the end")
        data = data[: self.size - pos]
        self.data[pos : pos + len(data)] = data
        return len(data)

    def llseek(self, file: File, offset: int, whence: int) -> int:
        return fixed_size_llseek(file, offset, whence, self.size)

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        if vma.vm_pgoff + vma_pages(vma) > self.size >> PAGE_SHIFT:
            raise OSError(errno.EINVAL, "past the end")
        pfn = (virt_to_phys(self.address) >> PAGE_SHIFT) + vma.vm_pgoff
        remap_pfn_range(vma, vma.vm_start, pfn, vma.vm_end - vma.vm_start, vma.vm_page_prot)
