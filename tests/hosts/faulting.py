"""A device whose pages come when they are touched, and code for clients that touch them."""

import platform
from typing import Any

from mapdev import Driver
from mapdev.linux import (
    FAULT_FLAG_WRITE,
    PAGE_SHIFT,
    VM_FAULT_LOCKED,
    VM_FAULT_SIGBUS,
    File,
    VmAreaStruct,
    VmFault,
    VmOperationsStruct,
    alloc_page,
    get_page,
    memory,
    page_address,
    unmap_mapping_range,
)

_RELEASE = tuple(map(int, platform.release().split("-")[0].split(".")[:2]))
PROTECTS = ((6, 10) if platform.machine() == "aarch64" else (5, 19)) <= _RELEASE

OPEN = "fd = os.open('/dev/x', os.O_RDWR)\n"


class Asked(Driver):
    """16 pages; `asked` lists (operation, page, is it a write)."""

    def probe(self, **hooks: Any) -> None:
        self.pages = [alloc_page() for _ in range(16)]
        for number, page in enumerate(self.pages):
            memory(page_address(page), 6)[:] = b"PAGE%02d" % number
        self.asked: list[tuple[str, int, bool]] = []
        self.vm_ops = VmOperationsStruct(fault=self.fault)

    def note(self, what: str, vmf: VmFault) -> None:
        self.asked.append((what, vmf.pgoff, bool(vmf.flags & FAULT_FLAG_WRITE)))

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        vma.vm_ops = self.vm_ops

    def fault(self, vmf: VmFault) -> int:
        self.note("fault", vmf)
        if vmf.pgoff >= 16:
            return VM_FAULT_SIGBUS
        vmf.page = self.pages[vmf.pgoff]
        get_page(vmf.page)
        return 0

    def ioctl(self, file: File, cmd: int, arg: int) -> int:
        unmap_mapping_range(file.f_mapping, cmd << PAGE_SHIFT, arg << PAGE_SHIFT, 1)
        return 0

    def read(self, file: File, count: int, pos: int) -> bytes:
        asked, self.asked = self.asked, []
        return " ".join(f"{what}{page}{'w' if w else 'r'}" for what, page, w in asked).encode()

    def write(self, file: File, data: bytes, pos: int) -> int:
        self.written = data or self.written  # nothing: the buffer can not be read
        return len(data)


ASKED = (
    OPEN
    + """
def asked(): return os.pread(fd, 4096, 0).decode()
def expect(what):
    assert (was := asked()) == what, was
"""
)


class Told(Asked):
    """Is told of the first write to a page, and does not allow it on page 9."""

    def probe(self, **hooks: Any) -> None:
        super().probe()
        self.vm_ops.page_mkwrite = self.page_mkwrite

    def page_mkwrite(self, vmf: VmFault) -> int:
        assert vmf.page is not None and vmf.page.pfn == self.pages[vmf.pgoff].pfn
        self.note("mkwrite", vmf)
        return VM_FAULT_SIGBUS if vmf.pgoff == 9 else VM_FAULT_LOCKED
