"""Exercise 3, finished."""

import errno

from mapdev import Driver, ioctl
from mapdev.linux import (
    _IO,
    PAGE_SIZE,
    File,
    VmAreaStruct,
    alloc_page,
    put_page,
    vm_insert_page,
    vma_pages,
)

PAGES = 4
REPLACE = _IO(ord("L"), 1)


class Lab(Driver):
    def probe(self) -> None:
        self.pages = [alloc_page() for _ in range(PAGES)]

    def remove(self) -> None:
        for page in self.pages:
            put_page(page)

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        if vma.vm_pgoff + vma_pages(vma) > PAGES:
            raise OSError(errno.EINVAL, "past the end")
        for number in range(vma_pages(vma)):
            page = self.pages[vma.vm_pgoff + number]
            vm_insert_page(vma, vma.vm_start + number * PAGE_SIZE, page)

    @ioctl(REPLACE)
    def replace(self, file: File, number: int) -> None:
        if number >= PAGES:
            raise OSError(errno.EINVAL, "no such page")
        put_page(self.pages[number])
        self.pages[number] = alloc_page()
