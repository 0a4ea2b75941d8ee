"""Names usual mistakes in an mmap operation, by what the driver called and with which arguments.

Each function returns what to say, or "" if it finds nothing. The texts name the mistake first, then
what a kernel would do, which is often worse than what mapdev does: it has no check there.
"""

from __future__ import annotations

from typing import Any

from mapdev.lab.session import Call, Operation, Session
from mapdev.linux.numbers import PAGE_SHIFT, PAGE_SIZE

__all__ = [
    "ANY_FRAME", "mapped_nothing", "no_mmap", "refused_or", "wrong_address", "wrong_frame",
    "wrong_length",
]  # fmt: skip

ANY_FRAME = (
    "mapdev refuses frames that are not the driver's. A kernel does not: the program would see, "
    "and "
    "overwrite, whatever lies there, or the machine would hang on an address without memory."
)


def no_mmap(operation: Operation | None) -> str:
    """The driver has no mmap operation."""
    if operation is None:
        return (
            "the driver has no mmap operation: mmap(2) fails with ENODEV, as in a kernel where "
            "file_operations.mmap is NULL. Write `def mmap(self, file, vma)`"
        )
    return ""


def mapped_nothing(operation: Operation) -> str:
    """It succeeded and mapped nothing."""
    if not operation.calls and operation.result == "0":
        return (
            "mmap returned 0 and mapped nothing: the program has an area whose page table is "
            "empty, "
            "and its first touch is SIGBUS. So it would be in a kernel"
        )
    return ""


def wrong_frame(call: Call, operation: Operation, allocation: dict[str, Any]) -> str:
    """A frame number that is something else: an address, bytes, or without the offset.

    :param call: of remap_pfn_range, for the beginning of an area.
    :param allocation: contiguous memory, which the device is.
    """
    assert operation.area is not None
    pfn, pgoff = call.arguments[2], operation.area[2]
    first, addr = allocation["runs"][0][0], allocation["addr"]
    if pfn == first + pgoff:
        return ""
    offset = pgoff << PAGE_SHIFT
    if pfn in (addr, addr + pgoff, addr + offset):
        return (
            f"remap_pfn_range was given the kernel address {addr:#x} as a frame number. Its frame "
            f"is virt_to_phys(address) >> PAGE_SHIFT, {first:#x}. {ANY_FRAME}"
        )
    if pfn in (addr >> PAGE_SHIFT, (addr >> PAGE_SHIFT) + pgoff):
        return (
            f"remap_pfn_range was given {pfn:#x}: the kernel address without its last {PAGE_SHIFT} "
            "bits. A kernel address is a virtual one: virt_to_phys() first, then the shift. "
            f"{ANY_FRAME}"
        )
    physical = first << PAGE_SHIFT
    if pfn in (physical, physical + offset, physical + pgoff):
        return (
            f"remap_pfn_range was given the physical address {physical:#x}, in bytes. A frame "
            f"number counts pages: >> PAGE_SHIFT. {ANY_FRAME}"
        )
    if pfn == first:
        return forgotten_offset(pgoff)
    if pfn == first + offset:
        return (
            f"vm_pgoff is in pages, and so is a frame number: add {pgoff}, not {offset:#x} (bytes)"
        )
    return f"remap_pfn_range was given the frame {pfn:#x}; the area begins with {first + pgoff:#x}"


def forgotten_offset(pgoff: int) -> str:
    """The offset was left out."""
    return (
        f"vm_pgoff is forgotten: the program asked for the device from page {pgoff} on and sees it "
        "from page 0 on. A kernel does not add it for you either"
    )


def wrong_length(call: Call, operation: Operation) -> str:
    """A length in pages, or one that is not the area's."""
    assert operation.area is not None
    start, end, *_ = operation.area
    size, length = call.arguments[3], end - start
    if size == length:
        return ""
    if size == length >> PAGE_SHIFT:
        return (
            f"remap_pfn_range was given {size} bytes: that is the area's length in pages. Its size "
            "is in bytes, vma->vm_end - vma->vm_start"
        )
    if size > length:
        return (
            f"remap_pfn_range was given {size:#x} bytes for an area of {length:#x}. A kernel fills "
            "the page table past the area's end, and crashes or corrupts another mapping. The "
            "length is the area's, vma->vm_end - vma->vm_start"
        )
    if size == PAGE_SIZE:
        return (
            f"only the first page of {length >> PAGE_SHIFT} was mapped: the program gets SIGBUS on "
            "the others. The length is vma->vm_end - vma->vm_start"
        )
    return f"{size:#x} bytes of {length:#x} were mapped: the program gets SIGBUS on the rest"


def wrong_address(call: Call, operation: Operation) -> str:
    """A user address that is not the area's beginning."""
    assert operation.area is not None
    if call.arguments[1] == operation.area[0]:
        return ""
    return (
        f"remap_pfn_range was given the user address {call.arguments[1]:#x}; the area begins at "
        f"vma->vm_start, {operation.area[0]:#x}. A kernel would corrupt the page table there"
    )


def refused_or(session: Session, operation: Operation, otherwise: str) -> str:
    """Say what mmap failed with, and why; or `otherwise` if it did not fail."""
    if operation.result == "0":
        return otherwise
    text = f"mmap failed: {operation.result.removeprefix('-1 ')}"
    return session.explained(text)
