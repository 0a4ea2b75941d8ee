"""Page frames: ``struct page`` and the ways between frame numbers, addresses and pages.

A `Page` is a name for a frame and holds no state: each look asks the machine that it came from. Two
`Page` objects of one frame are equal. Nothing here allocates or frees, but for `put_page` of the
last reference.
"""
# ruff: noqa: N802 - kernel names keep the kernel's spelling

from mapdev.linux.context import FrameState, Machine, Owner, machine
from mapdev.linux.numbers import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

__all__ = [
    "PG_buddy", "PG_head", "PG_held", "PG_reserved", "PG_slab", "PG_tail", "Page", "PageBuddy",
    "PageCompound", "PageHead", "PageReserved", "PageSlab", "PageTail", "compound_head",
    "compound_order", "get_page", "lock_page", "page_address", "page_count", "page_mapcount",
    "page_size", "page_to_pfn", "page_to_phys", "pfn_to_page", "pfn_valid", "phys_to_page",
    "phys_to_virt", "put_page", "unlock_page", "virt_to_page", "virt_to_phys",
]  # fmt: skip

# page.flags as bit numbers. The kernel's own numbers depend on version and configuration, so a
# driver asks PageReserved(page) and so on; these are good for printing.
PG_reserved = 0
PG_head = 1
PG_tail = 2
PG_slab = 3
PG_buddy = 4
PG_held = 5  # mapdev's: freed, but kept from use since a client still maps it


class Page:
    """A page frame: ``struct page``.

    ``pfn`` is its number; ``flags``, ``refcount``, ``mapcount``, ``order`` and ``owner`` are read
    when looked at.

    Source: include/linux/mm_types.h
    Fidelity: in C the number of a frame follows from the address of its ``struct page``, the counts
    have underscores in their names, ``_mapcount`` starts at -1, and there is no owner.
    """

    __slots__ = ("_machine", "pfn")

    def __init__(self, machine: Machine, pfn: int) -> None:
        """Name a frame that exists; use `pfn_to_page` in drivers."""
        self._machine = machine
        self.pfn = pfn

    @property
    def state(self) -> FrameState:
        """All that the machine knows about the frame, at one moment."""
        return self._machine.frame(self.pfn)

    @property
    def flags(self) -> int:
        """``1 << PG_*`` bits."""
        return self.state.flags

    @property
    def refcount(self) -> int:
        """References to the frame, or to the whole block when it is a compound one."""
        return self.state.refcount

    @property
    def mapcount(self) -> int:
        """How many mappings made by `vm_insert_page` show the frame."""
        return self.state.mapcount

    @property
    def order(self) -> int:
        """Order of the allocation, or of the free block, that the frame is part of."""
        return self.state.order

    @property
    def owner(self) -> Owner:
        """For whom the frame was allocated."""
        return self.state.owner

    def __eq__(self, other: object) -> bool:
        """Tell whether both name one frame of one machine."""
        if not isinstance(other, Page):
            return NotImplemented
        return self.pfn == other.pfn and self._machine is other._machine

    def __hash__(self) -> int:
        """Hash by frame number."""
        return hash(self.pfn)

    def __repr__(self) -> str:
        """Show the frame number."""
        return f"<Page pfn={self.pfn:#x}>"


def pfn_to_page(pfn: int) -> Page:
    """Give the page of a frame number.

    :raises OSError: EINVAL, the machine has no such frame

    Source: include/asm-generic/memory_model.h
    Fidelity: in C a bad number gives a bad pointer.
    """
    owner = machine()
    if not 0 <= pfn < owner.nr_frames:
        owner.frame(pfn)  # raises the machine's own clear error
    return Page(owner, pfn)


def page_to_pfn(page: Page) -> int:
    """Give the frame number of a page.

    Source: include/asm-generic/memory_model.h
    """
    return page.pfn


def pfn_valid(pfn: int) -> bool:
    """Tell whether the machine has a frame of this number.

    Source: include/linux/mmzone.h
    """
    return 0 <= pfn < machine().nr_frames


def virt_to_page(addr: int) -> Page:
    """Give the page that a direct-map address lies in.

    :param addr: a kernel address from `kmalloc`, `page_address` and the like
    :raises OSError: EINVAL, no direct-map address; of a vmalloc address use `vmalloc_to_page`

    Source: include/asm-generic/page.h, asm/page.h
    Fidelity: in C a vmalloc address silently gives a wrong page.
    """
    owner = machine()
    return Page(owner, owner.virt_to_pfn(addr))


def page_address(page: Page) -> int:
    """Give the kernel address of a page in the direct map.

    Source: include/linux/mm.h
    """
    return page._machine.page_address(page.pfn)


def virt_to_phys(addr: int) -> int:
    """Give the physical address of a direct-map address.

    :param addr: a kernel address from `kmalloc`, `page_address` and the like
    :return: a physical address in bytes
    :raises OSError: EINVAL, no direct-map address; of a vmalloc address use `vmalloc_to_pfn`

    Source: asm/io.h
    """
    return (machine().virt_to_pfn(addr) << PAGE_SHIFT) + (addr & ~PAGE_MASK)


def phys_to_virt(address: int) -> int:
    """Give the direct-map address of a physical address.

    :param address: a physical address in bytes
    :raises OSError: EINVAL, the machine has no memory there

    Source: asm/io.h
    """
    return machine().page_address(address >> PAGE_SHIFT) + (address & ~PAGE_MASK)


def page_to_phys(page: Page) -> int:
    """Give the physical address of a page, in bytes.

    Source: asm/io.h
    """
    return page.pfn << PAGE_SHIFT


def phys_to_page(address: int) -> Page:
    """Give the page at a physical address.

    :param address: in bytes
    :raises OSError: EINVAL, the machine has no memory there

    Source: asm/memory.h (arm64)
    """
    return pfn_to_page(address >> PAGE_SHIFT)


def get_page(page: Page) -> None:
    """Take a reference to a page (to the whole block when it is a compound one).

    :raises OSError: EINVAL, the page is free, so there is nothing to refer to (the kernel BUGs)

    Source: include/linux/mm.h
    """
    page._machine.get_page(page.pfn)


def put_page(page: Page) -> None:
    """Drop a reference to a page; the last one frees it.

    :raises OSError: EINVAL, the page is free already (the kernel reports a bad page)

    Source: include/linux/mm.h
    """
    page._machine.put_page(page.pfn)


def page_count(page: Page) -> int:
    """Give the number of references to a page.

    Source: include/linux/page_ref.h
    Fidelity: as in the kernel each `vm_insert_page` mapping counts and remap_pfn_range ones do not,
    but the latter keep the frame from being used again.
    """
    return page.refcount


def page_mapcount(page: Page) -> int:
    """Give the number of mappings of a page made by `vm_insert_page` and the like.

    Source: include/linux/mm.h
    """
    return page.mapcount


def compound_head(page: Page) -> Page:
    """Give the first page of the compound block that a page is in; else the page itself.

    Source: include/linux/page-flags.h
    """
    state = page.state
    return Page(page._machine, state.head) if state.flags & (1 << PG_tail) else page


def compound_order(page: Page) -> int:
    """Give the order of the compound block that a page is the head of; else 0.

    Source: include/linux/mm.h
    """
    state = page.state
    return state.order if state.flags & (1 << PG_head) else 0


def page_size(page: Page) -> int:
    """Give the bytes of the compound block that a page is the head of, else of the page.

    Source: include/linux/mm.h
    """
    return PAGE_SIZE << compound_order(page)


def PageReserved(page: Page) -> bool:
    """Tell whether the frame is never handed out.

    Source: include/linux/page-flags.h
    """
    return bool(page.flags & 1 << PG_reserved)


def PageHead(page: Page) -> bool:
    """Tell whether the page is the first of a compound block.

    Source: include/linux/page-flags.h
    """
    return bool(page.flags & 1 << PG_head)


def PageTail(page: Page) -> bool:
    """Tell whether the page is a later one of a compound block.

    Source: include/linux/page-flags.h
    """
    return bool(page.flags & 1 << PG_tail)


def PageCompound(page: Page) -> bool:
    """Tell whether the page is part of a compound block.

    Source: include/linux/page-flags.h
    """
    return bool(page.flags & (1 << PG_head | 1 << PG_tail))


def PageSlab(page: Page) -> bool:
    """Tell whether the page holds kmalloc'ed memory.

    Source: include/linux/page-flags.h
    Fidelity: true of every size. The kernel marks large blocks in another way, and only since 6.14.
    """
    return bool(page.flags & 1 << PG_slab)


def PageBuddy(page: Page) -> bool:
    """Tell whether the page is free: in the allocator's hands.

    Source: include/linux/page-flags.h
    Fidelity: true of every page of a free block, not of its first only.
    """
    return bool(page.flags & 1 << PG_buddy)


def lock_page(page: Page) -> None:
    """Lock a page; for a page_mkwrite operation, which then returns VM_FAULT_LOCKED.

    Source: include/linux/pagemap.h
    Fidelity: nobody else locks pages, so nothing is noted; the host unlocks it, as the kernel does.
    """
    page.state  # noqa: B018 - of a page that there is


def unlock_page(page: Page) -> None:
    """Unlock a page.

    Source: mm/filemap.c
    Fidelity: as for `lock_page`.
    """
    page.state  # noqa: B018 - of a page that there is
