"""Exercise 4: faults and fault-around. Finish the methods; then `mapdev lab 4`."""

from mapdev import Driver
from mapdev.linux import VM_FAULT_SIGBUS, File, Page, VmAreaStruct, VmFault

PAGES = 64  # of the device


class Lab(Driver):
    """A device whose pages come when somebody touches them."""

    def probe(self) -> None:
        """Allocate nothing."""
        self.pages: dict[int, Page] = {}  # those there are, by their place in the device

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Say who is to be asked: vma.vm_ops = VmOperationsStruct(fault=..., map_pages=...)."""

    def fault(self, vmf: VmFault) -> int:
        """Put the page at vmf.pgoff into vmf.page, with a reference for the mapping; return 0."""
        return VM_FAULT_SIGBUS

    def map_pages(self, vmf: VmFault, start_pgoff: int, end_pgoff: int) -> int:
        """Map pages of the table from start_pgoff to end_pgoff, inclusive; return 0.

        Each by vm_insert_page, unless vmf.vma.is_mapped(addr, addr + PAGE_SIZE) says it is there.
        """
        return 0
