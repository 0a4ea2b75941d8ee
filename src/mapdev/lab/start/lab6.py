"""Exercise 6: fork, split, merge. Finish the methods; then `mapdev lab 6`."""

from mapdev import Driver
from mapdev.linux import File, Page, VmAreaStruct

PAGES = 4


class Lab(Driver):
    """A device that has memory only while somebody maps it."""

    def probe(self) -> None:
        """Allocate nothing."""
        self.areas = 0  # how many map the device, in all programs together
        self.pages: list[Page] = []

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Allocate PAGES pages if there are none, map them by vm_insert_page, count the area.

        vma.vm_ops = VmOperationsStruct(open=..., close=...) says who is told of what becomes of it.
        """

    def vm_open(self, vma: VmAreaStruct) -> None:
        """There is one more area: by fork, or since one was split."""

    def vm_close(self, vma: VmAreaStruct) -> None:
        """An area has gone; with the last one, the pages."""
