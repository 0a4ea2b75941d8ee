"""What a driver has allocated, as hosts list it."""

from __future__ import annotations

from typing import NamedTuple


class Allocation(NamedTuple):
    """Something that an owner has allocated and not freed."""

    kind: str  # "pages", "contiguous", "kmalloc" or "vmalloc"
    addr: int  # kernel address
    size: int  # bytes
    pfn: int  # first frame
