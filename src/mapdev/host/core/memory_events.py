"""Notes what drivers allocate and free, while somebody watches a host: see `events`.

It replaces methods of the host's machine, by what `Recorder.replace` offers. Under the host's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mapdev.host.allocation import Allocation
from mapdev.host.core.snapshot import allocation_of
from mapdev.linux.context import Owner
from mapdev.linux.numbers import PAGE_SHIFT
from mapdev.linux.slab import ZERO_SIZE_PTR

if TYPE_CHECKING:
    from mapdev.host.core.host import Host

__all__ = ["MemoryEvents"]

Replace = Callable[[Any, str, Callable[..., Any]], None]


class MemoryEvents:
    """Notes allocations and frees of a host's machine.

    :param note: called with the kind of event, 0, and the rest.
    """

    def __init__(self, host: Host, note: Callable[..., None]) -> None:
        self._machine = host.machine
        self._note = note
        self._freed: set[int] = set()

    def install(self, replace: Replace) -> None:
        """Replace the machine's methods."""
        machine = self._machine
        replace(machine, "alloc_pages", self._alloc_pages)
        replace(machine, "alloc_contig", self._alloc_contig)
        replace(machine, "vmalloc", self._vmalloc)
        replace(machine, "kmalloc", self._kmalloc)
        for name in "free_pages", "free_contig", "put_page":
            replace(machine, name, self._drop)
        for name in "vfree", "kfree":
            replace(machine, name, self._free)
        replace(machine, "reclaim", self._reclaim)

    def _allocated(self, owner: Owner, kind: str, addr: int, size: int, pfn: int) -> None:
        name = getattr(owner, "name", "mapdev.alloc")
        shown = allocation_of(self._machine, name, Allocation(kind, addr, size, pfn))
        self._note("alloc", 0, shown)

    def _alloc_pages(self, method: Any, order: int, gfp: int, owner: Owner) -> int:
        pfn: int = method(order, gfp, owner)
        size = 1 << order + PAGE_SHIFT
        self._allocated(owner, "pages", self._machine.page_address(pfn), size, pfn)
        return pfn

    def _alloc_contig(self, method: Any, nr_pages: int, gfp: int, owner: Owner) -> int:
        pfn: int = method(nr_pages, gfp, owner)
        size = nr_pages << PAGE_SHIFT
        self._allocated(owner, "contiguous", self._machine.page_address(pfn), size, pfn)
        return pfn

    def _vmalloc(self, method: Any, size: int, gfp: int, owner: Owner, vm_flags: int = 0) -> int:
        addr: int = method(size, gfp, owner, vm_flags)
        pfn = self._machine.vmalloc_to_pfn(addr)
        self._allocated(owner, "vmalloc", addr, self._machine.vmalloc_size(addr), pfn)
        return addr

    def _kmalloc(self, method: Any, size: int, gfp: int, owner: Owner) -> int:
        addr: int = method(size, gfp, owner)
        if addr != ZERO_SIZE_PTR:
            size = self._machine.ksize(addr)
            self._allocated(owner, "kmalloc", addr, size, self._machine.virt_to_pfn(addr))
        return addr

    def _drop(self, method: Any, pfn: int, *args: Any) -> None:
        head = self._machine.frame(pfn).head
        addr = self._machine.page_address(head)
        method(pfn, *args)
        try:
            is_free = not self._machine.frame(head).nr_pages
        except OSError:  # the kernel host knows only frames that are allocated
            is_free = True
        if is_free:
            self._note_free(addr)

    def _free(self, method: Any, addr: int) -> None:
        method(addr)
        if addr not in (0, ZERO_SIZE_PTR):
            self._note_free(addr)

    def _note_free(self, addr: int) -> None:
        self._freed.add(addr)
        self._note("free", 0, addr)

    def _reclaim(self, method: Any, owner: Owner) -> list[Allocation]:
        self._freed.clear()
        found: list[Allocation] = method(owner)
        for allocation in found:
            if allocation.addr not in self._freed:  # by one of the methods above, on the way
                self._note_free(allocation.addr)
        return found
