"""The reference devices that do one thing that no other does, and the list of all of them."""

from __future__ import annotations

import errno
from typing import Any

from mapdev import linux
from mapdev.linux import (
    GFP_KERNEL,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_DONTCOPY,
    VM_FAULT_LOCKED,
    Page,
    VmAreaStruct,
    VmFault,
    VmOperationsStruct,
    alloc_pages,
    free_pages,
    kmalloc,
    offset_in_page,
    page_to_pfn,
    page_to_phys,
    pfn_to_page,
    pgprot_noncached,
    remap_pfn_range,
    remap_vmalloc_range,
    vfree,
    virt_to_page,
    virt_to_phys,
    vm_flags_set,
    vm_insert_page,
    vm_insert_pages,
    vm_map_pages,
    vma_pages,
    vmalloc,
)

from . import plain, sensor
from .control import ApiUse, Operation
from .devices import (
    SIZE,
    Fault,
    FaultPfn,
    Insert,
    Inserts,
    Mappable,
    Pages,
    Pfn,
    Reference,
    Vmalloc,
    check_bounds,
    contiguous_pages,
)


class Err(Mappable):
    """An mmap operation that fails as told."""

    def fill(self, vma: VmAreaStruct) -> None:
        self.fail()


class Half(Pfn):
    """remap_pfn_range of the first half of what is asked for."""

    def fill(self, vma: VmAreaStruct) -> None:
        check_bounds(vma)
        pfn = page_to_pfn(self.pages[0]) + vma.vm_pgoff
        size = vma_pages(vma) // 2 << PAGE_SHIFT
        remap_pfn_range(vma, vma.vm_start, pfn, size, vma.vm_page_prot)
        vma.vm_ops = VmOperationsStruct(open=self.vm_open, close=self.vm_close)


class MkWrite(Mappable):
    """page_mkwrite, which allows or does as told."""

    def fill(self, vma: VmAreaStruct) -> None:
        vma.vm_ops = VmOperationsStruct(
            open=self.vm_open,
            close=self.vm_close,
            fault=self.fault,
            page_mkwrite=self.page_mkwrite,
        )

    def page_mkwrite(self, vmf: VmFault) -> int:
        self.count(Operation.MKWRITE)
        return self.result or VM_FAULT_LOCKED


class Hooks(Pfn):
    """All the other operations of an area, which fail as told."""

    def fill(self, vma: VmAreaStruct) -> None:
        super().fill(vma)
        operations: dict[str, Any] = {
            "open": self.vm_open,
            "close": self.vm_close,
            "may_split": self.may_split,
            "mremap": self.mremap,
            "mprotect": self.mprotect,
            "access": self.access,
        }
        # Those that VmOperationsStruct knows: mprotect and access may be missing.
        known = {key: operations[key] for key in operations if hasattr(VmOperationsStruct, key)}
        vma.vm_ops = VmOperationsStruct(**known)

    def may_split(self, vma: VmAreaStruct, addr: int) -> None:
        self.count(Operation.MAY_SPLIT)
        self.fail()

    def mremap(self, vma: VmAreaStruct) -> None:
        self.count(Operation.MREMAP)
        self.fail()

    def mprotect(self, vma: VmAreaStruct, start: int, end: int, newflags: int) -> None:
        self.count(Operation.MPROTECT)
        self.fail()

    def access(self, vma: VmAreaStruct, addr: int, buf: memoryview, length: int, write: int) -> int:
        self.count(Operation.ACCESS)
        page, at = self.locate(addr - vma.vm_start + (vma.vm_pgoff << PAGE_SHIFT))
        length = min(length, PAGE_SIZE - offset_in_page(addr))
        if write:
            page[at : at + length] = buf[:length]
        else:
            buf[:length] = page[at : at + length]
        return length


class DontCopy(Fault):
    """Areas that a child does not get."""

    def fill(self, vma: VmAreaStruct) -> None:
        check_bounds(vma)
        vm_flags_set(vma, VM_DONTCOPY)
        super().fill(vma)


class NoClose(Mappable):
    """A fault operation, but no close: such areas can be merged."""

    def fill(self, vma: VmAreaStruct) -> None:
        vma.vm_ops = VmOperationsStruct(fault=self.fault)


class MapPages(Mappable):
    """vm_map_pages."""

    def fill(self, vma: VmAreaStruct) -> None:
        vm_map_pages(vma, self.pages)
        vma.vm_ops = VmOperationsStruct(open=self.vm_open, close=self.vm_close)


class IoMap(Mappable):
    """vm_iomap_memory."""

    def allocate(self) -> list[Page]:
        return contiguous_pages()

    def fill(self, vma: VmAreaStruct) -> None:
        # Looked up here: a version of mapdev that does not have it lacks this device only.
        vm_iomap_memory = getattr(linux, "vm_iomap_memory", None)
        if vm_iomap_memory is None:
            raise OSError(errno.ENOSYS, "mapdev.linux has no vm_iomap_memory")
        vm_iomap_memory(vma, page_to_phys(self.pages[0]), SIZE)
        vma.vm_ops = VmOperationsStruct(open=self.vm_open, close=self.vm_close)


class Api(Mappable):
    """The mapping functions, used as a driver should not, or as one may wonder whether it can."""

    def probe(self) -> None:
        super().probe()
        self.slab = kmalloc(PAGE_SIZE, GFP_KERNEL)

    def fill(self, vma: VmAreaStruct) -> None:
        start, prot, pfn = vma.vm_start, vma.vm_page_prot, page_to_pfn(self.pages[0])
        pages = self.pages[: vma_pages(vma)]
        match self.result:
            case ApiUse.INSERT_TWICE:
                vm_insert_page(vma, start, self.pages[0])
                vm_insert_page(vma, start, self.pages[1])
            case ApiUse.INSERT_AT_END:
                vm_insert_page(vma, vma.vm_end, self.pages[0])
            case ApiUse.INSERT_SLAB:
                vm_insert_page(vma, start, virt_to_page(self.slab))
            case ApiUse.REMAP_UNALIGNED:
                remap_pfn_range(vma, start + 100, pfn, PAGE_SIZE, prot)
            case ApiUse.REMAP_100_BYTES:
                remap_pfn_range(vma, start, pfn, 100, prot)
            case ApiUse.INSERT_TOO_MANY:
                vm_insert_pages(vma, start, self.pages[: len(pages) + 1])
            case ApiUse.INSERT_TAIL:
                block = alloc_pages(GFP_KERNEL, 1)
                try:
                    vm_insert_page(vma, start, pfn_to_page(page_to_pfn(block) + 1))
                finally:
                    free_pages(block, 1)
            case ApiUse.REMAP_PLAIN_VMALLOC:
                address = vmalloc(PAGE_SIZE)
                try:
                    remap_vmalloc_range(vma, address, 0)
                finally:
                    vfree(address)
            case ApiUse.REMAP_NONCACHED:
                vma.vm_page_prot = pgprot_noncached(prot)
                remap_pfn_range(vma, start, pfn, PAGE_SIZE, vma.vm_page_prot)
            case ApiUse.INSERT_ALL:
                vm_insert_pages(vma, start, pages)
            case ApiUse.REMAP_SLAB:
                pfn = virt_to_phys(self.slab) >> PAGE_SHIFT
                remap_pfn_range(vma, start, pfn, PAGE_SIZE, prot)


DEVICES: dict[str, type[Pages]] = {
    "pfn": Pfn,
    "vmalloc": Vmalloc,
    "insert": Insert,
    "inserts": Inserts,
    "fault": Fault,
    "faultpfn": FaultPfn,
    "nommap": Reference,
    "err": Err,
    "half": Half,
    "mkwrite": MkWrite,
    "hooks": Hooks,
    "dontcopy": DontCopy,
    "noclose": NoClose,
    "mappages": MapPages,
    "iomap": IoMap,
    "api": Api,
    **plain.DEVICES,
    **sensor.DEVICES,
}
