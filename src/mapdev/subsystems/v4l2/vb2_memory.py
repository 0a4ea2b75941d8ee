"""The memory of buffers: ``vb2_vmalloc_memops`` and ``vb2_dma_contig_memops``.

A driver writes the same frames that programs have mapped. The memory of a buffer is counted: by the
queue, by each mapping, and by each descriptor that was exported. So it outlives its queue when
VIDIOC_REQBUFS frees what is still mapped.

USERPTR: programs' memory can't be shown to a driver, so it works on a copy, which is filled when
the buffer is queued for output, and given to the program when it dequeues what was captured.

Source: drivers/media/common/videobuf2/videobuf2-vmalloc.c, videobuf2-dma-contig.c,
videobuf2-memops.c
"""

from __future__ import annotations

import contextlib
import errno
from typing import Any

from mapdev.linux import (
    GFP_KERNEL,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VmAreaStruct,
    VmOperationsStruct,
    copy_from_user,
    copy_to_user,
    dma_alloc_coherent,
    dma_free_coherent,
    dma_mmap_coherent,
    memory,
    remap_vmalloc_range,
    vfree,
    vm_flags_set,
    vmalloc_user,
)
from mapdev.linux.context import Context, context, enter, reset

__all__ = ["Vb2MemOps", "vb2_common_vm_ops", "vb2_dma_contig_memops", "vb2_vmalloc_memops"]


class _Memory:
    """Memory of a buffer, and how many use it.

    :ivar owner: the device whose memory it is.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.refcount = 1
        self.owner = context().owner
        self.view: memoryview | None = None

    def free(self) -> None:
        """Give it back: nobody uses it any more."""

    def map(self, vma: VmAreaStruct) -> None:
        """Show it in an area."""

    def put(self) -> None:
        """Be used by one less."""
        self.refcount -= 1
        if not self.refcount:
            self.view = None
            # What the driver's removal has given back already is no more.
            with contextlib.suppress(OSError):
                self.free()


class _Vmalloc(_Memory):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.address = vmalloc_user(size)
        self.view = memory(self.address, size)

    def free(self) -> None:
        vfree(self.address)

    def map(self, vma: VmAreaStruct) -> None:
        remap_vmalloc_range(vma, self.address, 0)
        vm_flags_set(vma, VM_DONTEXPAND)


class _Contiguous(_Memory):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.address, self.dma = dma_alloc_coherent(None, size, GFP_KERNEL)
        self.view = memory(self.address, size)

    def free(self) -> None:
        dma_free_coherent(None, self.size, self.address, self.dma)

    def map(self, vma: VmAreaStruct) -> None:
        dma_mmap_coherent(None, vma, self.address, self.dma, self.size)
        vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP)


class _Userptr(_Memory):
    """A copy of a program's memory."""

    def __init__(self, address: int, size: int, is_output: bool) -> None:
        super().__init__(size)
        copy_from_user(address, size)  # EFAULT now, rather than when it is too late
        self.address = address
        self.is_output = is_output
        self.view = memoryview(bytearray(size))


class _Attachment(_Memory):
    """Memory that another queue has exported."""

    def __init__(self, of: _Memory) -> None:
        super().__init__(of.size)
        self.of = of
        self.view = of.view


def _opened(vma: VmAreaStruct) -> None:
    vma.vm_private_data.refcount += 1


def _closed(vma: VmAreaStruct) -> None:
    vma.vm_private_data.put()


vb2_common_vm_ops = VmOperationsStruct(open=_opened, close=_closed)
"""Counts the mappings of a buffer. Source: drivers/media/common/videobuf2/videobuf2-memops.c"""


class Vb2MemOps:
    """A kind of memory: ``struct vb2_mem_ops``.

    Source: include/media/videobuf2-core.h
    Fidelity: all kinds share everything but where memory comes from.
    """

    def __init__(self, make: type[_Vmalloc] | type[_Contiguous], name: str) -> None:
        """Make the operations of a kind of memory."""
        self._make = make
        self.name = name

    def alloc(self, size: int) -> Any:
        """Allocate memory; ENOMEM."""
        return self._make(size)

    def put(self, mem: Any) -> None:
        """Let go of memory."""
        mem.put()

    def num_users(self, mem: Any) -> int:
        """Say how many use memory, the queue included."""
        count: int = mem.refcount
        return count

    def vaddr(self, mem: Any) -> memoryview:
        """Give a view of memory."""
        if mem is None or mem.view is None:
            raise OSError(errno.EFAULT, "the plane has no memory")
        view: memoryview = mem.view
        return view

    def cookie(self, mem: Any) -> Any:
        """Give the DMA address, of memory that has one."""
        return mem.dma if isinstance(mem, _Contiguous) else None

    def mmap(self, mem: Any, vma: VmAreaStruct) -> None:
        """Show memory in an area, as code of the device whose memory it is."""
        now = context()
        token = enter(Context(now.machine, mem.owner, now.task))
        try:
            mem.map(vma)
        finally:
            reset(token)
        vma.vm_private_data = mem
        vma.vm_ops = vb2_common_vm_ops
        _opened(vma)

    def get_userptr(self, address: int, size: int, is_output: bool) -> Any:
        """Use a program's memory.

        :raises OSError: EFAULT, it is not there, or it is not in a row as it would have to be
        """
        if self._make is _Contiguous:
            raise OSError(errno.EFAULT, "a program's memory is not contiguous")
        return _Userptr(address, size, is_output)

    def attach(self, mem: Any) -> Any:
        """Use memory that another queue has exported."""
        if self._make is _Contiguous and not isinstance(mem, _Contiguous):
            raise OSError(errno.EFAULT, "the memory of the dma-buf is not contiguous")
        mem.refcount += 1
        return _Attachment(mem)

    def detach(self, mem: Any) -> None:
        """Let go of memory that another queue has exported."""
        mem.of.put()
        mem.view = None

    def prepare(self, mem: Any, bytesused: int) -> None:
        """Take in what a program has written."""
        if isinstance(mem, _Userptr) and mem.is_output and mem.view is not None:
            size = min(bytesused or mem.size, mem.size)
            mem.view[:size] = copy_from_user(mem.address, size)

    def to_user(self, mem: Any, bytesused: int) -> None:
        """Give a program what was captured."""
        if isinstance(mem, _Userptr) and not mem.is_output and mem.view is not None:
            with contextlib.suppress(OSError):  # it has unmapped it: in the kernel pages are held
                copy_to_user(mem.address, bytes(mem.view[:bytesused]))


vb2_vmalloc_memops = Vb2MemOps(_Vmalloc, "vmalloc")
"""Memory whose frames are anywhere. Source: videobuf2-vmalloc.c"""

vb2_dma_contig_memops = Vb2MemOps(_Contiguous, "dma_contig")
"""Memory whose frames are in a row. Source: videobuf2-dma-contig.c
Fidelity: as on a machine without an IOMMU, USERPTR fails (EFAULT)."""
