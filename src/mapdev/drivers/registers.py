"""Registers: a block of hardware registers, at a physical address, for clients of /dev/mem.

A peripheral of a system on chip is a range of physical addresses. Programs that talk to one without
a driver of its own open /dev/mem and use the physical address as the file offset: ``devmem
0x43C00004`` reads 4 bytes there, python-periphery's MMIO and countless C programs do the same by
mmap. Put this device at /dev/mem and they find the block at `base`, and nothing else.

The block's memory lies somewhere in the machine, so there are two numbers for each byte: the
physical address that clients know, and the frame that really holds it. `Registers.mmap` goes from
one to the other; an area that is not within the block is refused.

A subclass names its registers::

    class Timer(Registers):
        registers: ClassVar = {
            "CTRL": Register(0x00, reset=0x1),
            "COUNT": Register(0x04),
            "STATUS": Register(0x08, width=16),
        }

    timer["COUNT"] = 1000       # a client's devmem sees it
    timer["CTRL"] & 0x2         # and what a client stored is here

A mapped register is memory: a load or a store calls nobody, so there are no read-to-clear bits and
no command registers that act at once. A driver looks at its registers when it is asked something,
as the other side of real shared memory would.
"""

from __future__ import annotations

import errno
from typing import ClassVar, Literal, NamedTuple

from mapdev.driver import Driver, parse_size
from mapdev.linux import (
    GFP_KERNEL,
    PAGE_ALIGN,
    PAGE_SHIFT,
    PAGE_SIZE,
    SEEK_CUR,
    SEEK_SET,
    File,
    VmAreaStruct,
    kzalloc,
    memory,
    offset_in_page,
    pgprot_noncached,
    remap_pfn_range,
    virt_to_phys,
    vma_pages,
)

_FORMATS: dict[int, Literal["B", "H", "I", "Q"]] = {8: "B", 16: "H", 32: "I", 64: "Q"}


class Register(NamedTuple):
    """A named register: its offset in the block in bytes, value after reset, width in bits."""

    offset: int
    reset: int = 0
    width: int = 32


class Registers(Driver):
    """A register block at a physical address."""

    major: ClassVar[int] = 1  # as the real /dev/mem
    registers: ClassVar[dict[str, Register]] = {}

    def probe(self, base: int | str = 0x43C00000, size: int | str = "64K") -> None:
        """Put the block at `base` and reset it.

        :param base: physical address of the block, a whole number of pages.
        :param size: of the block in bytes, rounded up to whole pages.
        :raises OSError: EINVAL, `base` is not page-aligned; ENOMEM.
        """
        self.base = parse_size(base, "base")
        self.size = PAGE_ALIGN(parse_size(size, "size"))
        if offset_in_page(self.base):
            raise OSError(errno.EINVAL, f"base {self.base:#x} is not page-aligned")
        # One page of nothing behind it: devmem maps two pages for a register at a page's end.
        self.address = kzalloc(self.size + PAGE_SIZE, GFP_KERNEL)
        self.reset()

    def reset(self) -> None:
        """Clear the block and give each named register its reset value."""
        memory(self.address, self.size)[:] = bytes(self.size)
        for name, register in self.registers.items():
            self[name] = register.reset

    def _cell(self, name: str) -> memoryview:
        """Give a register as an array of one number: one load or store of its whole width."""
        offset, _, width = self.registers[name]
        return memory(self.address + offset, width // 8).cast(_FORMATS[width])

    def __getitem__(self, name: str) -> int:
        """Read the register called `name`."""
        return int(self._cell(name)[0])

    def __setitem__(self, name: str, value: int) -> None:
        """Write the register called `name`."""
        self._cell(name)[0] = value

    def _translate(self, pos: int) -> int:
        """Turn a physical address into the kernel address of the byte; EFAULT outside."""
        if not self.base <= pos < self.base + self.size:
            raise OSError(errno.EFAULT, f"nothing at physical address {pos:#x}")
        return self.address + pos - self.base

    def read(self, file: File, count: int, pos: int) -> memoryview:
        """Return what lies at physical address `pos`, up to the end of the block."""
        return memory(self._translate(pos), min(count, self.base + self.size - pos))

    def write(self, file: File, data: bytes, pos: int) -> int:
        """Store at physical address `pos`, up to the end of the block."""
        address = self._translate(pos)
        data = data[: self.base + self.size - pos]
        memory(address, len(data))[:] = data
        return len(data)

    def llseek(self, file: File, offset: int, whence: int) -> int:
        """Go to a physical address; physical memory has no end to count from.

        Source: drivers/char/mem.c (memory_lseek)
        """
        if whence not in (SEEK_SET, SEEK_CUR):
            raise OSError(errno.EINVAL, "physical memory has no end")
        pos = offset + (file.f_pos if whence == SEEK_CUR else 0)
        if pos < 0:
            raise OSError(errno.EOVERFLOW, f"no physical address {pos}")
        file.f_pos = pos
        return pos

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Map the part of the block at the physical address that the offset says.

        :raises OSError: EINVAL, the area is not within the block.

        Source: drivers/char/mem.c (mmap_mem)
        """
        page, pages = vma.vm_pgoff - (self.base >> PAGE_SHIFT), self.size >> PAGE_SHIFT
        if not 0 <= page < pages or page + vma_pages(vma) > pages + 1:
            raise OSError(errno.EINVAL, f"{vma.vm_pgoff << PAGE_SHIFT:#x} is not in the block")
        pfn = (virt_to_phys(self.address) >> PAGE_SHIFT) + page
        prot = pgprot_noncached(vma.vm_page_prot)
        remap_pfn_range(vma, vma.vm_start, pfn, vma.vm_end - vma.vm_start, prot)
