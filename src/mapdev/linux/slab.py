"""kmalloc: physically contiguous memory of any size.

Small objects are cut from shared pages of one device; from a page up memory begins at a page.
"""

from mapdev.linux.context import context, machine
from mapdev.linux.numbers import __GFP_ZERO, GFP_KERNEL

__all__ = ["ZERO_SIZE_PTR", "kfree", "kmalloc", "ksize", "kzalloc"]

ZERO_SIZE_PTR = 16  # what kmalloc(0) gives (include/linux/slab.h); no memory is there


def kmalloc(size: int, gfp: int = GFP_KERNEL) -> int:
    """Allocate physically contiguous memory.

    :param size: bytes; 0 gives an address that only `kfree` takes
    :param gfp: ``GFP_*`` bits
    :return: a kernel address, aligned to a page when the size is a page or more
    :raises OSError: ENOMEM, not that much is free in a row

    Source: include/linux/slab.h, mm/slub.c
    Fidelity: raises where C returns NULL; more than 4 MiB works here and fails in the kernel
    (KMALLOC_MAX_SIZE), where ``dma_alloc_coherent`` with CMA may help.
    """
    now = context()
    return now.machine.kmalloc(size, gfp, now.owner)


def kzalloc(size: int, gfp: int = GFP_KERNEL) -> int:
    """Allocate physically contiguous memory that holds zeros.

    :param size: bytes
    :param gfp: ``GFP_*`` bits
    :return: a kernel address
    :raises OSError: ENOMEM, as for `kmalloc`

    Source: include/linux/slab.h
    Fidelity: as for `kmalloc`.
    """
    return kmalloc(size, gfp | __GFP_ZERO)


def kfree(addr: int) -> None:
    """Free what `kmalloc` gave. Its frames are kept from use while a client maps them.

    :param addr: a kernel address; 0 (NULL) does nothing
    :raises OSError: EINVAL, a double free or not the start of kmalloc'ed memory (undefined in C)

    Source: include/linux/slab.h, mm/slub.c
    """
    machine().kfree(addr)


def ksize(addr: int) -> int:
    """Give the usable size of kmalloc'ed memory, which may be more than was asked for.

    :param addr: a kernel address that `kmalloc` gave
    :return: bytes
    :raises OSError: EINVAL, no kmalloc'ed memory starts there

    Source: include/linux/slab.h, mm/slab_common.c
    """
    return machine().ksize(addr)
