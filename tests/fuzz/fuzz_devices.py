"""Four ways to map the same kind of memory, each telling how many areas and files there are."""

from typing import Any

from mapdev.drivers._buffer import Buffer
from mapdev.linux import GFP_KERNEL as KERNEL
from mapdev.linux import (
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_FAULT_SIGBUS,
    File,
    Inode,
    VmAreaStruct,
    VmFault,
    VmOperationsStruct,
    get_page,
    kfree,
    kzalloc,
    remap_pfn_range,
    vfree,
    virt_to_phys,
    vm_insert_page,
    vma_pages,
    vmalloc_to_page,
    vmalloc_to_pfn,
    vzalloc,
)

PAGES = 16
SIZE = PAGES << PAGE_SHIFT


class Counted(Buffer):
    """Memory that counts its `files` and `areas`, and maps nothing yet."""

    def probe(self) -> None:
        self.files = self.areas = 0
        self.vm_ops = self.operations()
        self.use(self.allocate(), SIZE)

    def operations(self, **others: Any) -> VmOperationsStruct:
        return VmOperationsStruct(open=self.opened, close=self.closed, **others)

    def allocate(self) -> int:
        return vzalloc(SIZE)

    def remove(self) -> None:
        vfree(self.address)

    def open(self, inode: Inode, file: File) -> None:
        self.files += 1

    def release(self, inode: Inode, file: File) -> None:
        self.files -= 1

    def opened(self, vma: VmAreaStruct) -> None:
        self.areas += 1

    def closed(self, vma: VmAreaStruct) -> None:
        self.areas -= 1

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        self.check_range(vma)
        self.fill(vma)
        vma.vm_ops = self.vm_ops
        self.opened(vma)

    def fill(self, vma: VmAreaStruct) -> None:
        """Map what shall be there at once."""

    def at(self, vma: VmAreaStruct, page: int) -> int:
        return self.address + (vma.vm_pgoff + page << PAGE_SHIFT)


class Frames(Counted):
    def allocate(self) -> int:
        return kzalloc(SIZE, KERNEL)

    def remove(self) -> None:
        kfree(self.address)

    def fill(self, vma: VmAreaStruct) -> None:
        pfn = virt_to_phys(self.at(vma, 0)) >> PAGE_SHIFT
        remap_pfn_range(vma, vma.vm_start, pfn, vma_pages(vma) << PAGE_SHIFT, vma.vm_page_prot)


class Scattered(Counted):
    def fill(self, vma: VmAreaStruct) -> None:
        for page in range(vma_pages(vma)):
            user = vma.vm_start + (page << PAGE_SHIFT)
            pfn = vmalloc_to_pfn(self.at(vma, page))
            remap_pfn_range(vma, user, pfn, PAGE_SIZE, vma.vm_page_prot)


class Inserted(Counted):
    def fill(self, vma: VmAreaStruct) -> None:
        for page in range(vma_pages(vma)):
            user = vma.vm_start + (page << PAGE_SHIFT)
            vm_insert_page(vma, user, vmalloc_to_page(self.at(vma, page)))


class Faulting(Counted):
    def operations(self, **others: Any) -> VmOperationsStruct:
        return super().operations(fault=self.fault)

    def fault(self, vmf: VmFault) -> int:
        if vmf.pgoff >= PAGES:
            return VM_FAULT_SIGBUS
        vmf.page = vmalloc_to_page(self.address + (vmf.pgoff << PAGE_SHIFT))
        get_page(vmf.page)
        return 0


KINDS: dict[str, type[Counted]] = {
    "frames": Frames, "scattered": Scattered, "pages": Inserted, "faults": Faulting
}  # fmt: skip
