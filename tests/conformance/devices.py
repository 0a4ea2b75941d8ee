"""The reference devices: drivers that do one thing each and count what they are asked.

They are written as one would in C, so that what programs see of them can be compared with drivers in
C that do the same. Those that most rows are about are here, those with one peculiarity in
peculiar.py. Each has 16 pages, of which page N begins with "PAGEnn"; /dev/ref_ctl (control.py) reads
the counters.
"""

from __future__ import annotations

import errno

from mapdev import Driver
from mapdev.linux import (
    GFP_KERNEL,
    GFP_ZERO,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_FAULT_SIGBUS,
    VM_IO,
    VM_PFNMAP,
    File,
    Inode,
    Page,
    VmAreaStruct,
    VmFault,
    VmOperationsStruct,
    WaitQueueHead,
    alloc_page,
    alloc_pages,
    fixed_size_llseek,
    get_order,
    get_page,
    is_cow_mapping,
    memory,
    page_address,
    page_to_pfn,
    pfn_to_page,
    remap_pfn_range,
    vm_flags_set,
    vm_insert_page,
    vm_insert_pages,
    vma_pages,
    vmalloc_to_page,
    vmalloc_user,
    vmf_insert_pfn,
)

from .control import NPAGES, Operation

SIZE = NPAGES * PAGE_SIZE


def single_pages() -> list[Page]:
    """Sixteen pages, wherever they are."""
    return [alloc_page(GFP_KERNEL | GFP_ZERO) for _ in range(NPAGES)]


def contiguous_pages() -> list[Page]:
    """Sixteen pages in a row."""
    first = page_to_pfn(alloc_pages(GFP_KERNEL | GFP_ZERO, get_order(SIZE)))
    return [pfn_to_page(first + number) for number in range(NPAGES)]


class Pages(Driver):
    """What all have in common: memory and counters. It can't be read or written."""

    def probe(self) -> None:
        self.pages = self.allocate()
        self.opened: File | None = None  # the last that was opened
        self.queue = WaitQueueHead()  # woken when the mask changes
        self.reset()

    def allocate(self) -> list[Page]:
        return single_pages()

    def reset(self) -> None:
        """Counters, contents and results as they are at the beginning."""
        self.ran = [0] * len(Operation)
        self.result = 0  # what operations return that can be told to: an errno, negative, or a code
        self.mmap_pgoff = self.fault_pgoff = self.fault_address = self.fault_flags = 0
        self.open_flags = self.mask = 0
        self.asked = (0, 0)  # how many bytes the last read or write was asked for, and where
        self.command = (0, 0)  # the last ioctl, and its argument
        for number, page in enumerate(self.pages):
            bytes_of(page)[:] = f"PAGE{number:02}".encode().ljust(PAGE_SIZE, b"\0")

    def count(self, operation: Operation) -> None:
        self.ran[operation] += 1

    def locate(self, offset: int) -> tuple[memoryview, int]:
        """The page that holds the byte at `offset`, and where it is in there."""
        return bytes_of(self.pages[offset >> PAGE_SHIFT]), offset % PAGE_SIZE

    def fail(self) -> None:
        """Raise the error that the operations of this device shall return, if there is one."""
        if self.result < 0:
            raise OSError(-self.result, "as told")

    def open(self, inode: Inode, file: File) -> None:
        self.count(Operation.OPEN)
        self.open_flags = file.f_flags
        self.opened = file

    def release(self, inode: Inode, file: File) -> None:
        if self.opened is file:
            self.opened = None
        self.count(Operation.RELEASE)


class Reference(Pages):
    """Memory to read and write. It can't be mapped."""

    def read(self, file: File, count: int, pos: int) -> bytes:
        self.count(Operation.READ)
        self.asked = (count, pos)
        return b"".join(bytes_of(page) for page in self.pages)[pos : pos + count]

    def write(self, file: File, data: bytes, pos: int) -> int:
        self.count(Operation.WRITE)
        self.asked = (len(data), pos)
        if pos >= SIZE:
            raise OSError(errno.ENOSPC, "past the end")
        data = data[: SIZE - pos]
        done = 0
        while done < len(data):
            page, at = self.locate(pos + done)
            part = data[done : done + len(page) - at]
            page[at : at + len(part)] = part
            done += len(part)
        return len(data)

    def llseek(self, file: File, offset: int, whence: int) -> int:
        self.count(Operation.LLSEEK)
        return fixed_size_llseek(file, offset, whence, SIZE)


def bytes_of(page: Page) -> memoryview:
    return memory(page_address(page), PAGE_SIZE)


def check_bounds(vma: VmAreaStruct) -> None:
    """Devices that map everything in mmap look at the range there; the others when asked."""
    if vma.vm_pgoff + vma_pages(vma) > NPAGES:
        raise OSError(errno.EINVAL, "past the end")


class Mappable(Reference):
    """What those have in common that can be mapped."""

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        self.count(Operation.MMAP)
        self.mmap_pgoff = vma.vm_pgoff
        self.fill(vma)

    def fill(self, vma: VmAreaStruct) -> None:
        """What the device does in its mmap operation."""
        raise NotImplementedError

    def vm_open(self, vma: VmAreaStruct) -> None:
        self.count(Operation.VM_OPEN)

    def vm_close(self, vma: VmAreaStruct) -> None:
        self.count(Operation.VM_CLOSE)

    def fault(self, vmf: VmFault) -> int:
        self.note_fault(vmf)
        if vmf.pgoff >= NPAGES:
            return VM_FAULT_SIGBUS
        vmf.page = self.pages[vmf.pgoff]
        get_page(vmf.page)
        return 0

    def note_fault(self, vmf: VmFault) -> None:
        self.count(Operation.FAULT)
        self.fault_pgoff, self.fault_address, self.fault_flags = vmf.pgoff, vmf.address, vmf.flags


class Pfn(Mappable):
    """remap_pfn_range, once."""

    def allocate(self) -> list[Page]:
        return contiguous_pages()

    def fill(self, vma: VmAreaStruct) -> None:
        check_bounds(vma)
        pfn = page_to_pfn(self.pages[0]) + vma.vm_pgoff
        remap_pfn_range(vma, vma.vm_start, pfn, vma.vm_end - vma.vm_start, vma.vm_page_prot)
        vma.vm_ops = VmOperationsStruct(open=self.vm_open, close=self.vm_close)


class Vmalloc(Mappable):
    """remap_pfn_range, page by page, of memory that is in a row for the kernel only."""

    def allocate(self) -> list[Page]:
        base = vmalloc_user(SIZE)
        return [vmalloc_to_page(base + number * PAGE_SIZE) for number in range(NPAGES)]

    def fill(self, vma: VmAreaStruct) -> None:
        check_bounds(vma)
        pages = self.pages[vma.vm_pgoff : vma.vm_pgoff + vma_pages(vma)]
        for number, page in enumerate(pages):
            addr = vma.vm_start + number * PAGE_SIZE
            remap_pfn_range(vma, addr, page_to_pfn(page), PAGE_SIZE, vma.vm_page_prot)
        vma.vm_ops = VmOperationsStruct(open=self.vm_open, close=self.vm_close)


class Insert(Mappable):
    """vm_insert_page, page by page."""

    def fill(self, vma: VmAreaStruct) -> None:
        check_bounds(vma)
        for number in range(vma_pages(vma)):
            addr = vma.vm_start + number * PAGE_SIZE
            vm_insert_page(vma, addr, self.pages[vma.vm_pgoff + number])
        vma.vm_ops = VmOperationsStruct(open=self.vm_open, close=self.vm_close)


class Inserts(Mappable):
    """vm_insert_pages, once."""

    def fill(self, vma: VmAreaStruct) -> None:
        check_bounds(vma)
        pages = self.pages[vma.vm_pgoff : vma.vm_pgoff + vma_pages(vma)]
        vm_insert_pages(vma, vma.vm_start, pages)
        vma.vm_ops = VmOperationsStruct(open=self.vm_open, close=self.vm_close)


class Fault(Mappable):
    """A fault operation that gives pages."""

    def fill(self, vma: VmAreaStruct) -> None:
        vma.vm_ops = VmOperationsStruct(open=self.vm_open, close=self.vm_close, fault=self.fault)


class FaultPfn(Mappable):
    """A fault operation that inserts frames."""

    def fill(self, vma: VmAreaStruct) -> None:
        if is_cow_mapping(vma.vm_flags):
            raise OSError(errno.EINVAL, "frames can't be copied on write")
        vm_flags_set(vma, VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_DONTDUMP)
        vma.vm_ops = VmOperationsStruct(
            open=self.vm_open,
            close=self.vm_close,
            fault=self.fault_pfn,
            pfn_mkwrite=self.pfn_mkwrite,
        )

    def fault_pfn(self, vmf: VmFault) -> int:
        self.note_fault(vmf)
        if vmf.pgoff >= NPAGES:
            return VM_FAULT_SIGBUS
        return vmf_insert_pfn(vmf.vma, vmf.address, page_to_pfn(self.pages[vmf.pgoff]))

    def pfn_mkwrite(self, vmf: VmFault) -> int:
        self.count(Operation.PFN_MKWRITE)
        return 0
