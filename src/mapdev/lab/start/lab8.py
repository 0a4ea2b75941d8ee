"""Exercise 8: what goes wrong. Each method has a mistake or two; `mapdev lab 8` names the first."""

from mapdev import Driver, parse_size
from mapdev.linux import (
    GFP_KERNEL,
    PAGE_SHIFT,
    File,
    Inode,
    VmAreaStruct,
    fixed_size_llseek,
    kfree,
    kmalloc,
    memory,
    remap_pfn_range,
)


class Lab(Driver):
    """A buffer to be read, written, sought and mapped."""

    def probe(self, size: int | str = 20000) -> None:
        """Allocate the buffer."""
        size = parse_size(size)
        self.address = kmalloc(size, GFP_KERNEL)
        self.size = size

    def release(self, inode: Inode, file: File) -> None:
        """Free it."""
        kfree(self.address)

    @property
    def data(self) -> memoryview:
        """The bytes of the buffer."""
        return memory(self.address, self.size)

    def read(self, file: File, count: int, pos: int) -> memoryview:
        """Return what is at `pos`."""
        return memory(self.address + pos, count)

    def write(self, file: File, data: bytes, pos: int) -> int:
        """Take bytes at `pos`."""
        memory(self.address + pos, len(data))[:] = data
        return len(data)

    def llseek(self, file: File, offset: int, whence: int) -> int:
        """Move to any place in the buffer."""
        return fixed_size_llseek(file, offset, whence, self.size)

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Map the buffer."""
        pfn = self.address >> PAGE_SHIFT
        remap_pfn_range(vma, vma.vm_start, pfn, self.size, vma.vm_page_prot)
