"""vmalloc: memory contiguous in its addresses, made of single frames from anywhere.

An area has a guard page behind it. Its addresses are in no direct map: the way to its frames is
`vmalloc_to_page`, never virt_to_page.
"""

from mapdev.linux.context import context, machine
from mapdev.linux.numbers import __GFP_ZERO, GFP_KERNEL, PAGE_MASK, VM_USERMAP
from mapdev.linux.page import Page

__all__ = [
    "is_vmalloc_addr", "vfree", "vmalloc", "vmalloc_to_page", "vmalloc_to_pfn", "vmalloc_user",
    "vzalloc",
]  # fmt: skip


def vmalloc(size: int) -> int:
    """Allocate memory whose frames need not be neighbours.

    :param size: bytes, rounded up to whole pages
    :return: a kernel address, page-aligned
    :raises OSError: ENOMEM, not that many frames are free; EINVAL, size 0 or less

    Source: include/linux/vmalloc.h, mm/vmalloc.c
    Fidelity: raises where C returns NULL.
    """
    now = context()
    return now.machine.vmalloc(size, GFP_KERNEL, now.owner)


def vzalloc(size: int) -> int:
    """Allocate memory as `vmalloc` does, holding zeros.

    :param size: bytes, rounded up to whole pages
    :return: a kernel address, page-aligned
    :raises OSError: as for `vmalloc`

    Source: include/linux/vmalloc.h, mm/vmalloc.c
    """
    now = context()
    return now.machine.vmalloc(size, GFP_KERNEL | __GFP_ZERO, now.owner)


def vmalloc_user(size: int) -> int:
    """Allocate zeroed memory that `remap_vmalloc_range` may show to user space.

    :param size: bytes, rounded up to whole pages
    :return: a kernel address, page-aligned
    :raises OSError: as for `vmalloc`

    Source: include/linux/vmalloc.h, mm/vmalloc.c
    """
    now = context()
    return now.machine.vmalloc(size, GFP_KERNEL | __GFP_ZERO, now.owner, VM_USERMAP)


def vfree(addr: int) -> None:
    """Free a vmalloc area. Its frames are kept from use while a client maps them.

    :param addr: what `vmalloc` gave; 0 (NULL) does nothing
    :raises OSError: EINVAL, no area starts there (the kernel warns)

    Source: include/linux/vmalloc.h, mm/vmalloc.c
    """
    if addr:
        machine().vfree(addr)


def vmalloc_to_pfn(addr: int) -> int:
    """Give the number of the frame behind a vmalloc address.

    :param addr: any address in an area
    :raises OSError: EINVAL, the address is in no area, or in a guard page

    Source: include/linux/mm.h, mm/vmalloc.c
    """
    return machine().vmalloc_to_pfn(addr)


def vmalloc_to_page(addr: int) -> Page:
    """Give the page behind a vmalloc address.

    :param addr: any address in an area
    :raises OSError: EINVAL, the address is in no area, or in a guard page (NULL in C)

    Source: include/linux/mm.h, mm/vmalloc.c
    """
    owner = machine()
    return Page(owner, owner.vmalloc_to_pfn(addr & PAGE_MASK))


def is_vmalloc_addr(addr: int) -> bool:
    """Tell whether an address lies in the range of vmalloc areas, allocated or not.

    Source: include/linux/mm.h, mm/vmalloc.c
    """
    return machine().is_vmalloc_addr(addr)
