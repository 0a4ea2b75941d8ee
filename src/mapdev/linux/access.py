"""Gives drivers access to kernel memory: a memoryview in place of a pointer.

The one function here is mapdev's own: Python can't dereference an address. It shares, never copies.
"""

from mapdev.linux.context import machine

__all__ = ["memory"]


def memory(addr: int, size: int) -> memoryview:
    """Give a writable view (format ``B``) of kernel memory; NumPy wraps it without a copy.

    The view stays usable after the memory is freed, but shows nothing sensible then.

    :param addr: a kernel address, from `kmalloc`, `vmalloc`, `page_address` and the like
    :param size: bytes
    :raises OSError: EFAULT, not all of it is allocated (a guard page is not)

    Source: mapdev's own
    """
    return machine().memory(addr, size)
