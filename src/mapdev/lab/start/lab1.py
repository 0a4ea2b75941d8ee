"""Exercise 1: kmalloc and remap_pfn_range. Finish probe and mmap; then `mapdev lab 1`."""

from mapdev import Driver
from mapdev.linux import PAGE_SIZE, File, VmAreaStruct

SIZE = 16 * PAGE_SIZE  # of the device, in bytes


class Lab(Driver):
    """A device whose memory is frames in a row."""

    def probe(self) -> None:
        """Allocate SIZE bytes, cleared, with kzalloc(SIZE, GFP_KERNEL)."""
        self.address = 0  # a kernel address

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Map the part of the memory that the program asks for.

        vma.vm_pgoff says from which page of the device on, vma_pages(vma) how many.
        """
