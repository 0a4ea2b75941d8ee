"""Areas of a process: ``struct vm_area_struct``, ``vm_operations_struct`` and ``vm_fault``.

Plain objects that the host fills in and a driver reads. What a driver asks to be mapped is only
written down, in `VmAreaStruct.mapped`; the host carries it out after the operation. An area belongs
to the operation that handles it; it has no lock of its own.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate, repeat
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mapdev.linux.numbers import (
    PAGE_SHIFT,
    PAGE_SIZE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    VM_EXEC,
    VM_MAYWRITE,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
)

if TYPE_CHECKING:
    from mapdev.linux.fs import File
    from mapdev.linux.mm import MmStruct
    from mapdev.linux.page import Page

__all__ = [
    "FAULT_FLAG_ALLOW_RETRY",
    "FAULT_FLAG_INTERRUPTIBLE",
    "FAULT_FLAG_KILLABLE",
    "FAULT_FLAG_MKWRITE",
    "FAULT_FLAG_ORIG_PTE_VALID",
    "FAULT_FLAG_USER",
    "FAULT_FLAG_WRITE",
    "VM_FAULT_COMPLETED",
    "VM_FAULT_DONE_COW",
    "VM_FAULT_ERROR",
    "VM_FAULT_FALLBACK",
    "VM_FAULT_HWPOISON",
    "VM_FAULT_HWPOISON_LARGE",
    "VM_FAULT_LOCKED",
    "VM_FAULT_MAJOR",
    "VM_FAULT_NEEDDSYNC",
    "VM_FAULT_NOPAGE",
    "VM_FAULT_OOM",
    "VM_FAULT_RETRY",
    "VM_FAULT_SIGBUS",
    "VM_FAULT_SIGSEGV",
    "Kind",
    "Mapped",
    "VmAreaStruct",
    "VmFault",
    "VmOperationsStruct",
    "is_cow_mapping",
    "vm_flags_clear",
    "vm_flags_set",
    "vm_get_page_prot",
    "vma_pages",
]  # fmt: skip

# How frames are mapped: as by remap_pfn_range, as by vm_insert_page; or so that "pfn" is the number
# of a page of vmalloc addresses, for a host to which that says more than frames do.
Kind = Literal["pfn", "page", "vmalloc"]


class Mapped(NamedTuple):
    """One run of frames that a driver asked to see mapped."""

    addr: int  # first user address, page-aligned
    pfn: int  # first frame
    nr_pages: int
    kind: Kind
    prot: int  # PROT_* bits and mapdev's cache mode bits

    @property
    def end(self) -> int:
        """The first user address after the run."""
        return self.addr + (self.nr_pages << PAGE_SHIFT)


_new_mapped: Callable[[Iterable[Any]], Mapped] = partial(tuple.__new__, Mapped)


class VmOperationsStruct:
    """The operations of an area: ``struct vm_operations_struct``.

    Each is a function as in C, or None: ``open(vma)``, ``close(vma)``,
    ``may_split(vma, addr)``, ``mremap(vma)``, ``mprotect(vma, start, end, newflags)``,
    ``fault(vmf) -> VM_FAULT_* bits``, ``map_pages(vmf, start_pgoff, end_pgoff)`` (inclusive),
    ``page_mkwrite(vmf)``, ``pfn_mkwrite(vmf)``, ``name(vma) -> str``,
    ``access(vma, addr, buf, length, write) -> int``: `buf` is a memoryview of `length` bytes, to be
    filled, or with what is to be written; it gives how many bytes that were.

    Source: include/linux/mm.h
    Fidelity: the kernel host asks ``access`` for 256 bytes at most at a time, the embedded host
    never: what would ask it reads its pages by itself there.
    """

    __slots__ = (
        "access",
        "close",
        "fault",
        "map_pages",
        "may_split",
        "mprotect",
        "mremap",
        "name",
        "open",
        "page_mkwrite",
        "pfn_mkwrite",
    )

    def __init__(
        self,
        *,
        open: "Callable[[VmAreaStruct], None] | None" = None,
        close: "Callable[[VmAreaStruct], None] | None" = None,
        may_split: "Callable[[VmAreaStruct, int], None] | None" = None,
        mremap: "Callable[[VmAreaStruct], None] | None" = None,
        mprotect: "Callable[[VmAreaStruct, int, int, int], None] | None" = None,
        fault: "Callable[[VmFault], int] | None" = None,
        map_pages: "Callable[[VmFault, int, int], int] | None" = None,
        page_mkwrite: "Callable[[VmFault], int] | None" = None,
        pfn_mkwrite: "Callable[[VmFault], int] | None" = None,
        name: "Callable[[VmAreaStruct], str] | None" = None,
        access: "Callable[[VmAreaStruct, int, memoryview, int, int], int] | None" = None,
    ) -> None:
        """Take the operations by name; what is left out is None."""
        self.open = open
        self.close = close
        self.may_split = may_split
        self.mremap = mremap
        self.mprotect = mprotect
        self.fault = fault
        self.map_pages = map_pages
        self.page_mkwrite = page_mkwrite
        self.pfn_mkwrite = pfn_mkwrite
        self.name = name
        self.access = access


class VmAreaStruct:
    """One mapping of a process: ``struct vm_area_struct``.

    ``vm_start`` and ``vm_end`` are user addresses in bytes, half-open; ``vm_pgoff`` is the offset
    into the file in pages; ``vm_flags`` are ``VM_*`` bits; ``vm_page_prot`` are ``PROT_*`` bits
    and cache mode bits. ``mapped`` is mapdev's own: the runs of frames that the driver asked for,
    in the order in which it asked, neighbours joined.

    Source: include/linux/mm_types.h
    Fidelity: ``vm_page_prot`` is a number made of PROT_* bits, not page table bits, and a private
    writable area has PROT_WRITE in it. ``vm_next``, ``vm_prev`` went away in Linux 6.1.
    """

    __slots__ = (
        "_ends",
        "_starts",
        "mapped",
        "vm_end",
        "vm_file",
        "vm_flags",
        "vm_mm",
        "vm_next",
        "vm_ops",
        "vm_page_prot",
        "vm_pgoff",
        "vm_prev",
        "vm_private_data",
        "vm_start",
    )

    def __init__(
        self,
        vm_start: int,
        vm_end: int,
        vm_pgoff: int = 0,
        vm_flags: int = 0,
        vm_page_prot: int | None = None,
        vm_file: "File | None" = None,
        vm_mm: "MmStruct | None" = None,
    ) -> None:
        """Make an area; ``vm_page_prot`` follows from ``vm_flags`` unless given."""
        self.vm_start = vm_start
        self.vm_end = vm_end
        self.vm_pgoff = vm_pgoff
        self.vm_flags = vm_flags
        self.vm_page_prot = vm_get_page_prot(vm_flags) if vm_page_prot is None else vm_page_prot
        self.vm_file = vm_file
        self.vm_mm = vm_mm
        self.vm_ops: VmOperationsStruct | None = None
        self.vm_private_data: Any = None
        self.vm_next: VmAreaStruct | None = None
        self.vm_prev: VmAreaStruct | None = None
        self.mapped: list[Mapped] = []
        # The same runs sorted by address, touching ones merged, so that a driver which maps
        # thousands of scattered frames one by one doesn't search them all each time.
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __repr__(self) -> str:
        """Show range, offset and flags."""
        return (
            f"<VmAreaStruct {self.vm_start:#x}-{self.vm_end:#x} pgoff={self.vm_pgoff:#x} "
            f"flags={self.vm_flags:#x}>"
        )

    def is_mapped(self, start: int, end: int) -> bool:
        """Tell whether the driver has asked for any page of the range already."""
        before = bisect_right(self._starts, start)
        if before and self._ends[before - 1] > start:
            return True
        return before < len(self._starts) and self._starts[before] < end

    @property
    def is_full(self) -> bool:
        """Whether the driver has asked for all of the area's pages."""
        return self._starts == [self.vm_start] and self._ends == [self.vm_end]

    def start_over(self) -> None:
        """Forget what the driver asked for: the host has carried it out and will not look again."""
        self.mapped, self._starts, self._ends = [], [], []

    def record(self, addr: int, pfn: int, nr_pages: int, kind: Kind, prot: int) -> None:
        """Write down that a free stretch shall show these frames; the caller has checked it all."""
        self._append(_new_mapped((addr, pfn, nr_pages, kind, prot)))

    def _append(self, run: Mapped) -> None:
        addr, pfn, nr_pages, kind, prot = run
        if self.mapped:
            start, first, length, last_kind, last_prot = self.mapped[-1]
            if (
                first + length == pfn
                and start + (length << PAGE_SHIFT) == addr
                and last_kind == kind
                and last_prot == prot
            ):
                self.mapped.pop()
                run = Mapped(start, first, length + nr_pages, kind, prot)
        self.mapped.append(run)
        self._cover(addr, addr + (nr_pages << PAGE_SHIFT))

    def record_runs(
        self, addr: int, runs: Sequence[tuple[int, int]], kind: Kind, prot: int
    ) -> None:
        """Do what `record` does, for runs of frames (first, number) at addresses in a row.

        Neighbours among `runs` are joined already.
        """
        if runs:
            self.record(addr, *runs[0], kind, prot)
            pfns, counts = zip(*runs, strict=True)
            ends = list(accumulate(map(PAGE_SIZE.__mul__, counts), initial=addr))
            places = zip(ends[1:-1], pfns[1:], counts[1:], repeat(kind), repeat(prot), strict=False)
            self.mapped += map(_new_mapped, places)
            if len(runs) > 1:
                self._cover(ends[1], ends[-1])

    def _cover(self, addr: int, end: int) -> None:
        """Note that there is something in a stretch that was free."""
        if addr == end:
            return
        at = bisect_right(self._starts, addr)
        joins_before = at > 0 and self._ends[at - 1] == addr
        joins_after = at < len(self._starts) and self._starts[at] == end
        if joins_before and joins_after:
            self._ends[at - 1] = self._ends.pop(at)
            del self._starts[at]
        elif joins_before:
            self._ends[at - 1] = end
        elif joins_after:
            self._starts[at] = addr
        else:
            self._starts.insert(at, addr)
            self._ends.insert(at, end)


# vmf.flags (include/linux/mm_types.h)
FAULT_FLAG_WRITE = 1 << 0
FAULT_FLAG_MKWRITE = 1 << 1
FAULT_FLAG_ALLOW_RETRY = 1 << 2
FAULT_FLAG_KILLABLE = 1 << 4
FAULT_FLAG_USER = 1 << 6
FAULT_FLAG_INTERRUPTIBLE = 1 << 9
FAULT_FLAG_ORIG_PTE_VALID = 1 << 11

# What a fault operation answers (include/linux/mm_types.h)
VM_FAULT_OOM = 0x000001
VM_FAULT_SIGBUS = 0x000002
VM_FAULT_MAJOR = 0x000004
VM_FAULT_HWPOISON = 0x000010
VM_FAULT_HWPOISON_LARGE = 0x000020
VM_FAULT_SIGSEGV = 0x000040
VM_FAULT_NOPAGE = 0x000100
VM_FAULT_LOCKED = 0x000200
VM_FAULT_RETRY = 0x000400
VM_FAULT_FALLBACK = 0x000800
VM_FAULT_DONE_COW = 0x001000
VM_FAULT_NEEDDSYNC = 0x002000
VM_FAULT_COMPLETED = 0x004000
VM_FAULT_ERROR = (
    VM_FAULT_OOM | VM_FAULT_SIGBUS | VM_FAULT_SIGSEGV | VM_FAULT_HWPOISON
    | VM_FAULT_HWPOISON_LARGE | VM_FAULT_FALLBACK
)  # fmt: skip


class VmFault:
    """A page fault that an area's ``fault`` operation shall answer: ``struct vm_fault``.

    The operation sets ``page`` and returns 0, or calls `vmf_insert_pfn` and returns what that gave.

    Source: include/linux/mm.h
    """

    __slots__ = ("address", "flags", "page", "pgoff", "vma")

    def __init__(self, vma: VmAreaStruct, address: int, flags: int = 0) -> None:
        """Describe a fault at a user address; ``pgoff`` follows from the area."""
        self.vma = vma
        self.address = address
        self.flags = flags
        self.pgoff = (address - vma.vm_start >> PAGE_SHIFT) + vma.vm_pgoff
        self.page: Page | None = None

    def __repr__(self) -> str:
        """Show where it was, in the area and in the device, and the flags."""
        return f"<VmFault {self.address:#x} pgoff={self.pgoff:#x} flags={self.flags:#x}>"


def vma_pages(vma: VmAreaStruct) -> int:
    """Give the length of an area in pages.

    Source: include/linux/mm.h
    """
    return vma.vm_end - vma.vm_start >> PAGE_SHIFT


def vm_get_page_prot(vm_flags: int) -> int:
    """Give the protection that an area with these flags has.

    :param vm_flags: ``VM_*`` bits
    :return: ``PROT_*`` bits

    Source: mm/pgprot.c, arch/x86/mm/pgprot.c
    Fidelity: a private writable area gets PROT_WRITE, though in a page table its pages stay
    read-only until they are copied.
    """
    prot = 0
    if vm_flags & VM_READ:
        prot |= PROT_READ
    if vm_flags & VM_WRITE:
        prot |= PROT_WRITE
    if vm_flags & VM_EXEC:
        prot |= PROT_EXEC
    return prot


def vm_flags_set(vma: VmAreaStruct, flags: int) -> None:
    """Set bits of ``vm_flags``.

    Source: include/linux/mm.h, since Linux 6.3
    """
    vma.vm_flags |= flags


def vm_flags_clear(vma: VmAreaStruct, flags: int) -> None:
    """Clear bits of ``vm_flags``.

    Source: include/linux/mm.h, since Linux 6.3
    """
    vma.vm_flags &= ~flags


def is_cow_mapping(flags: int) -> bool:
    """Tell whether pages of an area with these flags are copied when written (private, writable).

    Source: include/linux/mm.h
    """
    return flags & (VM_SHARED | VM_MAYWRITE) == VM_MAYWRITE
