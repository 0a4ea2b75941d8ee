"""`Allocation` describes memory that a driver has allocated: hosts list it to report leaks."""

from __future__ import annotations

from typing import NamedTuple


class Allocation(NamedTuple):
    """Memory that a driver has allocated and not freed."""

    kind: str  # "pages", "contiguous", "kmalloc" or "vmalloc"
    addr: int  # kernel address
    size: int  # bytes
    pfn: int  # first frame
