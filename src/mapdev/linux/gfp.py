"""The page allocator: blocks of a power of two pages, physically contiguous.

What a device allocates belongs to it: what it allocated in ``probe`` is given back after
``remove``, anything else that is left then is a leak. Every page holds zeros when it is given out.
"""

import errno
from typing import overload

from mapdev.linux.context import context, machine
from mapdev.linux.numbers import __GFP_ZERO, GFP_KERNEL
from mapdev.linux.page import Page, page_address

__all__ = [
    "__free_page", "__free_pages", "__get_free_pages", "alloc_page", "alloc_pages", "free_page",
    "free_pages", "get_zeroed_page",
]  # fmt: skip


@overload
def alloc_pages(order: int, /) -> Page: ...
@overload
def alloc_pages(gfp: int, order: int) -> Page: ...
def alloc_pages(gfp: int, order: int | None = None) -> Page:
    """Allocate ``1 << order`` pages in a row, naturally aligned.

    Called as in C, ``alloc_pages(gfp, order)``, or with the order alone.

    :param gfp: ``GFP_*`` bits; with ``__GFP_COMP`` the block has one reference count for all
    :param order: 0 to ``MAX_ORDER``
    :return: the first page
    :raises OSError: ENOMEM, no such block is free or the order is too high

    Source: include/linux/gfp.h, mm/page_alloc.c
    Fidelity: ``gfp`` may be left out; zones (``GFP_DMA``, ``GFP_DMA32``) are ignored and nothing
    sleeps; raises where C returns NULL.
    """
    if order is None:
        gfp, order = GFP_KERNEL, gfp
    now = context()
    return Page(now.machine, now.machine.alloc_pages(order, gfp, now.owner))


def alloc_page(gfp: int = GFP_KERNEL) -> Page:
    """Allocate a page.

    :param gfp: ``GFP_*`` bits
    :raises OSError: ENOMEM, none is free

    Source: include/linux/gfp.h
    Fidelity: as for `alloc_pages`.
    """
    return alloc_pages(gfp, 0)


def __free_pages(page: Page, order: int) -> None:
    """Free what `alloc_pages` gave. Its frames are kept from use while a client maps them.

    :param page: the first page
    :param order: as it was allocated
    :raises OSError: EINVAL, a double free, another order, or not the first page of a block

    Source: include/linux/gfp.h, mm/page_alloc.c
    Fidelity: checks what the kernel believes. Python changes a name that begins with two
    underscores inside a class: use ``free_pages(page, order)`` there.
    """
    page._machine.free_pages(page.pfn, order)


def __free_page(page: Page) -> None:
    """Free what `alloc_page` gave.

    :raises OSError: EINVAL, as for `__free_pages`

    Source: include/linux/gfp.h
    """
    __free_pages(page, 0)


def free_pages(addr: int | Page, order: int) -> None:
    """Free pages by their kernel address.

    :param addr: the direct-map address of the first page; 0 (NULL) does nothing
    :param order: as it was allocated
    :raises OSError: EINVAL, a double free, another order, or not the first page of a block

    Source: include/linux/gfp.h, mm/page_alloc.c
    Fidelity: takes a `Page` too, see `__free_pages`.
    """
    if isinstance(addr, Page):
        __free_pages(addr, order)
    elif addr:
        owner = machine()
        pfn = owner.virt_to_pfn(addr)
        if owner.page_address(pfn) != addr:
            raise OSError(errno.EINVAL, f"free_pages: {addr:#x} is not the start of a page")
        owner.free_pages(pfn, order)


def free_page(addr: int | Page) -> None:
    """Free a page by its kernel address.

    :param addr: its direct-map address; 0 (NULL) does nothing
    :raises OSError: EINVAL, as for `free_pages`

    Source: include/linux/gfp.h
    Fidelity: takes a `Page` too, see `__free_pages`.
    """
    free_pages(addr, 0)


def __get_free_pages(gfp: int, order: int) -> int:
    """Allocate pages and give their kernel address.

    :param gfp: ``GFP_*`` bits
    :param order: 0 to ``MAX_ORDER``
    :raises OSError: ENOMEM, as for `alloc_pages`

    Source: include/linux/gfp.h, mm/page_alloc.c
    Fidelity: not for use inside a class, see `__free_pages`.
    """
    return page_address(alloc_pages(gfp, order))


def get_zeroed_page(gfp: int = GFP_KERNEL) -> int:
    """Allocate a page of zeros and give its kernel address.

    :param gfp: ``GFP_*`` bits
    :raises OSError: ENOMEM, none is free

    Source: include/linux/gfp.h, mm/page_alloc.c
    """
    return __get_free_pages(gfp | __GFP_ZERO, 0)
