"""Exercise 5: private mappings and copy on write. Finish mmap; then `mapdev lab 5`."""

from mapdev import Driver
from mapdev.linux import GFP_KERNEL, PAGE_SIZE, File, VmAreaStruct, kfree, kzalloc

SIZE = 4 * PAGE_SIZE


class Lab(Driver):
    """A table that all programs share for reading; who wants to change it gets a copy."""

    def probe(self) -> None:
        """Allocate the table."""
        self.address = kzalloc(SIZE, GFP_KERNEL)

    def remove(self) -> None:
        """Free it."""
        kfree(self.address)

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Map the table: shared for reading only, private as the program likes.

        vma.vm_flags has VM_SHARED for a shared area, VM_WRITE if it may be written now, and
        VM_MAYWRITE if mprotect may allow that later.
        """
