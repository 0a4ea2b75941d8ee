"""Lazy: memory that is not there until somebody touches it.

Its mmap maps nothing. It only says who is to be asked, by `vm_ops`; the client gets an area without
a single page. The first touch of a page is a page fault: the processor stops the client at that
instruction, the kernel finds the area, and asks its `fault` operation which page belongs there.
This one allocates it then, so a client that touches three pages of a gigabyte costs three pages.
The instruction is carried out again, and finds its memory.

A page belongs to the device, not to who touched it first: whoever touches the same offset later,
through another mapping or in another process, is given the same page.

The kernel wants a reference with each page that it is given (`get_page`), and drops it when the
mapping is gone; the device drops its own in `remove`. A touch past the end is answered by
VM_FAULT_SIGBUS, as for a file that is shorter than its mapping.
"""

from __future__ import annotations

import errno

from mapdev.driver import Driver, parse_size
from mapdev.linux import (
    __GFP_ZERO,
    GFP_KERNEL,
    PAGE_ALIGN,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_FAULT_OOM,
    VM_FAULT_SIGBUS,
    File,
    Page,
    VmAreaStruct,
    VmFault,
    VmOperationsStruct,
    alloc_page,
    fixed_size_llseek,
    get_page,
    memory,
    page_address,
    put_page,
)

_ZEROED = GFP_KERNEL | __GFP_ZERO  # out here, since Python renames such names inside a class


class Lazy(Driver):
    """Memory whose pages are allocated by the fault that needs them.

    :ivar faults: how often `fault` was asked.
    :ivar pages: the pages that there are, by their offset in the device, in pages.
    """

    def probe(self, size: int | str = "64K") -> None:
        """Allocate nothing.

        :param size: bytes, rounded up to whole pages.
        """
        self.size = PAGE_ALIGN(parse_size(size, "size"))
        self.pages: dict[int, Page] = {}
        self.faults = 0
        self.vm_ops = VmOperationsStruct(fault=self.fault)

    def remove(self) -> None:
        """Drop the device's own reference to each page."""
        for page in self.pages.values():
            put_page(page)
        self.pages.clear()

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Say who is to be asked; how long the area is does not matter yet."""
        vma.vm_ops = self.vm_ops

    def fault(self, vmf: VmFault) -> int:
        """Give the page at `vmf.pgoff`, a new one at its first touch."""
        self.faults += 1
        if vmf.pgoff >= self.size >> PAGE_SHIFT:
            return VM_FAULT_SIGBUS
        try:
            vmf.page = self.page(vmf.pgoff)
        except OSError:
            return VM_FAULT_OOM
        get_page(vmf.page)
        return 0

    def page(self, pgoff: int) -> Page:
        """Return the page at `pgoff`; it is allocated if it isn't there.

        :raises OSError: ENOMEM, no frame is free.
        """
        if pgoff not in self.pages:
            self.pages[pgoff] = alloc_page(_ZEROED)
        return self.pages[pgoff]

    def read(self, file: File, count: int, pos: int) -> bytes:
        """Return bytes up to the end of one page; what nobody has touched is zero."""
        pgoff, offset = divmod(pos, PAGE_SIZE)
        count = max(0, min(count, PAGE_SIZE - offset, self.size - pos))
        if pgoff not in self.pages:
            return bytes(count)
        return bytes(memory(page_address(self.pages[pgoff]) + offset, count)) if count else b""

    def write(self, file: File, data: bytes, pos: int) -> int:
        """Take bytes up to the end of one page, which is allocated if it isn't there.

        :raises OSError: ENOSPC, `pos` is at the end or past it; ENOMEM, no frame is free.
        """
        pgoff, offset = divmod(pos, PAGE_SIZE)
        if pos >= self.size:
            raise OSError(errno.ENOSPC, "write at the end of the device")
        data = data[: PAGE_SIZE - offset]
        if data:
            memory(page_address(self.page(pgoff)) + offset, len(data))[:] = data
        return len(data)

    def llseek(self, file: File, offset: int, whence: int) -> int:
        """Move to any place in the device, up to its end."""
        return fixed_size_llseek(file, offset, whence, self.size)
