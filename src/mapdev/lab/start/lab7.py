"""Exercise 7: cache modes, and why. Finish mmap; then `mapdev lab 7`."""

from mapdev import Driver
from mapdev.linux import GFP_KERNEL, PAGE_SIZE, File, VmAreaStruct, kfree, kzalloc

# A graphics card, as a driver sees it: kind, first page, number of pages.
REGIONS = (("registers", 0, 1), ("screen", 1, 8), ("buffer", 9, 4))
PAGES = 13


class Lab(Driver):
    """Registers, a screen and ordinary memory behind one node, at different offsets."""

    def probe(self) -> None:
        """Allocate what stands for the card; with a real one it would be there already."""
        self.address = kzalloc(PAGES * PAGE_SIZE, GFP_KERNEL)

    def remove(self) -> None:
        """Free it."""
        kfree(self.address)

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Map what lies in one region, with the cache mode that this one wants.

        pgprot_noncached(vma.vm_page_prot), pgprot_writecombine(vma.vm_page_prot), or as it is.
        """
