"""Exercise 3: struct page and its counts. Finish all methods; then `mapdev lab 3`."""

from mapdev import Driver, ioctl
from mapdev.linux import _IO, File, Page, VmAreaStruct

PAGES = 4
REPLACE = _IO(ord("L"), 1)  # its argument is the number of a page


class Lab(Driver):
    """A device of single pages, each with counts of its own."""

    def probe(self) -> None:
        """Allocate PAGES pages, each by alloc_page()."""
        self.pages: list[Page] = []

    def remove(self) -> None:
        """Drop the driver's reference to each page: put_page(page)."""

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Map the pages that the program asks for, each by vm_insert_page(vma, addr, page)."""

    @ioctl(REPLACE)
    def replace(self, file: File, number: int) -> None:
        """Put page `number`, and have a new one in its place. Who maps the old one keeps it."""
