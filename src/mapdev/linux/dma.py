"""Memory that a device and the processor share: dma_alloc_coherent.

There is no IOMMU: a DMA address is the physical address.
"""

import errno
from typing import TYPE_CHECKING, Any

from mapdev.linux.context import context, machine
from mapdev.linux.mapping import remap_pfn_range
from mapdev.linux.numbers import GFP_KERNEL, PAGE_ALIGN, PAGE_MASK, PAGE_SHIFT

if TYPE_CHECKING:
    from mapdev.linux.vma import VmAreaStruct

__all__ = ["dma_alloc_coherent", "dma_free_coherent", "dma_mmap_coherent"]


def dma_alloc_coherent(dev: Any, size: int, gfp: int = GFP_KERNEL) -> tuple[int, int]:
    """Allocate zeroed, physically contiguous memory for a device.

    :param dev: the device; not used, may be None
    :param size: bytes, rounded up to whole pages; not limited to 4 MiB
    :param gfp: ``GFP_*`` bits
    :return: the kernel address and the DMA address
    :raises OSError: ENOMEM, not that many frames are free in a row; EINVAL, size 0 or less

    Source: include/linux/dma-mapping.h, kernel/dma/mapping.c
    Fidelity: raises where C returns NULL; the address is the second value, in C an output
    parameter. DMA masks are ignored.
    """
    if size <= 0:
        raise OSError(errno.EINVAL, f"dma_alloc_coherent of {size} bytes")
    now = context()
    pfn = now.machine.alloc_contig(PAGE_ALIGN(size) >> PAGE_SHIFT, gfp, now.owner)
    return now.machine.page_address(pfn), pfn << PAGE_SHIFT


def _pfn_of(cpu_addr: int, dma_handle: int, what: str) -> int:
    pfn = machine().virt_to_pfn(cpu_addr)
    if cpu_addr & ~PAGE_MASK or dma_handle != pfn << PAGE_SHIFT:
        raise OSError(
            errno.EINVAL,
            f"{what}: address {cpu_addr:#x} and DMA address {dma_handle:#x} do not belong together",
        )
    return pfn


def dma_free_coherent(dev: Any, size: int, cpu_addr: int, dma_handle: int) -> None:
    """Free what `dma_alloc_coherent` gave. Its frames are kept from use while a client maps them.

    :param dev: as it was allocated
    :param size: as it was allocated, in bytes
    :param cpu_addr: the kernel address
    :param dma_handle: the DMA address
    :raises OSError: EINVAL, a double free or other values than were given

    Source: include/linux/dma-mapping.h, kernel/dma/mapping.c
    """
    pfn = _pfn_of(cpu_addr, dma_handle, "dma_free_coherent")
    machine().free_contig(pfn, PAGE_ALIGN(size) >> PAGE_SHIFT)


def dma_mmap_coherent(
    dev: Any, vma: "VmAreaStruct", cpu_addr: int, dma_handle: int, size: int
) -> None:
    """Map what `dma_alloc_coherent` gave into a process; for use in an mmap operation.

    ``vma.vm_pgoff`` is the offset into the memory in pages.

    :param dev: as it was allocated
    :param vma: the area, which is filled completely
    :param cpu_addr: the kernel address
    :param dma_handle: the DMA address
    :param size: as it was allocated, in bytes
    :raises OSError: ENXIO, the area reaches past the memory; else as for `remap_pfn_range`

    Source: include/linux/dma-mapping.h, kernel/dma/direct.c
    """
    pfn = _pfn_of(cpu_addr, dma_handle, "dma_mmap_coherent")
    length = vma.vm_end - vma.vm_start
    if (vma.vm_pgoff << PAGE_SHIFT) + length > PAGE_ALIGN(size):
        raise OSError(errno.ENXIO, f"{vma!r} reaches past the {size} bytes")
    remap_pfn_range(vma, vma.vm_start, pfn + vma.vm_pgoff, length, vma.vm_page_prot)
