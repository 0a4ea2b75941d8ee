"""Exercise 4, finished."""

from mapdev import Driver
from mapdev.linux import (
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_FAULT_SIGBUS,
    File,
    Page,
    VmAreaStruct,
    VmFault,
    VmOperationsStruct,
    alloc_page,
    get_page,
    put_page,
    vm_insert_page,
)

PAGES = 64


class Lab(Driver):
    def probe(self) -> None:
        self.pages: dict[int, Page] = {}
        self.vm_ops = VmOperationsStruct(fault=self.fault, map_pages=self.map_pages)

    def remove(self) -> None:
        for page in self.pages.values():
            put_page(page)

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        vma.vm_ops = self.vm_ops

    def fault(self, vmf: VmFault) -> int:
        if vmf.pgoff >= PAGES:
            return VM_FAULT_SIGBUS
        if vmf.pgoff not in self.pages:
            self.pages[vmf.pgoff] = alloc_page()
        vmf.page = self.pages[vmf.pgoff]
        get_page(vmf.page)
        return 0

    def map_pages(self, vmf: VmFault, start_pgoff: int, end_pgoff: int) -> int:
        vma = vmf.vma
        for pgoff in range(start_pgoff, end_pgoff + 1):
            addr = vma.vm_start + (pgoff - vma.vm_pgoff << PAGE_SHIFT)
            if pgoff in self.pages and not vma.is_mapped(addr, addr + PAGE_SIZE):
                vm_insert_page(vma, addr, self.pages[pgoff])
        return 0
