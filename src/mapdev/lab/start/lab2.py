"""Exercise 2: vmalloc, page by page. Finish probe and mmap; then `mapdev lab 2`."""

from mapdev import Driver
from mapdev.linux import PAGE_SIZE, File, VmAreaStruct

SIZE = 16 * PAGE_SIZE  # of the device, in bytes


class Lab(Driver):
    """A device whose memory is frames from anywhere."""

    def probe(self) -> None:
        """Allocate SIZE bytes, cleared, with vzalloc(SIZE)."""
        self.address = 0  # a kernel address

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Map page by page: look each frame up by vmalloc_to_pfn(address).

        for user in range(vma.vm_start, vma.vm_end, PAGE_SIZE): ...
        """
