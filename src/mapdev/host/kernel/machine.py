"""`KernelMachine` gives drivers memory of the running kernel, which the module allocates.

Frame numbers, kernel addresses and what `struct page` says are the kernel's own. What is allocated
is a buffer of the module, mapped into this process, so that `memory` of a kernel address is memory
here. Called under the host's lock, but for what `mapdev.linux.context.Machine` says.
"""

from __future__ import annotations

import contextlib
import errno
import weakref
from collections.abc import Callable, Sequence

from mapdev.host.allocation import Allocation
from mapdev.host.core.clock import Clock
from mapdev.host.core.machine import Activity, Wake, nobody_waits
from mapdev.host.kernel import uapi
from mapdev.host.kernel.buffers import Buffer, Buffers, pages_for
from mapdev.host.kernel.control import Control
from mapdev.linux.context import FrameState, Owner
from mapdev.linux.fs import File, Inode
from mapdev.linux.mm import TaskStruct
from mapdev.linux.numbers import (
    GFP_COMP,
    GFP_KERNEL,
    MAX_ORDER,
    PAGE_MASK,
    PAGE_SHIFT,
    VM_ALLOC,
    get_order,
)
from mapdev.linux.page import PG_buddy, PG_head, PG_reserved, PG_slab, PG_tail
from mapdev.linux.slab import ZERO_SIZE_PTR
from mapdev.linux.vma import Kind, VmAreaStruct

OTHERS = "the kernel"  # the owner of frames that this session did not allocate
_FLAGS = (
    (uapi.PAGE_RESERVED, PG_reserved),
    (uapi.PAGE_HEAD, PG_head),
    (uapi.PAGE_TAIL, PG_tail),
    (uapi.PAGE_SLAB, PG_slab),
    (uapi.PAGE_BUDDY, PG_buddy),
)
_SOME_FRAME = 256  # at 1 MiB, where each machine has memory


Unmap = Callable[[Inode, int, int], None]


def nothing_is_mapped(inode: Inode, start: int, size: int) -> None:
    """Do nothing: there are no devices."""


class KernelMachine(Activity):
    """Implements `mapdev.linux.context.Machine` by a session with the module.

    :param wake: see `mapdev.host.core.machine.Wake`.
    :param unmap: takes bytes of a device's file out of all areas that map them.
    :param clock: the host's.
    :ivar async_files: the module's numbers of open files whose driver was asked for O_ASYNC.
    :ivar told_async: those of which the driver has said, since it was asked, what it does.
    """

    def __init__(
        self, control: Control, wake: Wake = nobody_waits, unmap: Unmap = nothing_is_mapped,
        clock: Clock | None = None,
    ) -> None:  # fmt: skip
        super().__init__(wake, clock)
        self._control = control
        self._unmap = unmap
        self.async_files: weakref.WeakKeyDictionary[File, int] = weakref.WeakKeyDictionary()
        self.told_async: weakref.WeakSet[File] = weakref.WeakSet()
        self.buffers = Buffers(control)
        self._cache = uapi.CACHED
        page = self._look_at(_SOME_FRAME)
        self.nr_frames: int = page.nr_frames
        self._direct_map: int = page.address - (_SOME_FRAME << PAGE_SHIFT)

    def _look_at(self, pfn: int) -> uapi.Page:
        page = uapi.Page(pfn=pfn)
        try:
            self._control.ioctl(uapi.IOC_PAGE, page)
        except OSError as error:
            raise OSError(error.errno, f"pfn {pfn:#x} is not a frame of this machine") from None
        return page

    def cache_next(self, cache: int) -> None:
        """Have what is allocated next cached so in this process: ``uapi.CACHED`` and so on."""
        self._cache = cache

    def _alloc(self, kind: int, nr_pages: int, use: str, owner: Owner, flags: int = 0) -> Buffer:
        cache, self._cache = self._cache, uapi.CACHED
        return self.buffers.alloc(kind, nr_pages, use, owner, flags, cache=cache)

    # --- pages ------------------------------------------------------------------------------

    def alloc_pages(self, order: int, gfp: int, owner: Owner) -> int:
        """Allocate ``1 << order`` frames; gives the first."""
        if not 0 <= order <= MAX_ORDER:
            raise OSError(errno.ENOMEM, f"order {order} is more than {MAX_ORDER}")
        compound = gfp & GFP_COMP == GFP_COMP and order > 0
        return self._alloc_row(1 << order, gfp, owner, "pages", compound).pfn

    def _alloc_row(
        self, nr_pages: int, gfp: int, owner: Owner, use: str, compound: bool = False
    ) -> Buffer:
        flags = uapi.ALLOC_COMP if compound else 0
        if gfp & GFP_KERNEL != GFP_KERNEL:
            flags |= uapi.ALLOC_ATOMIC
        order = get_order(nr_pages << PAGE_SHIFT)
        if nr_pages == 1 << order and order <= MAX_ORDER:
            return self._alloc(uapi.BUF_PAGES, nr_pages, use, owner, flags)
        return self._alloc(uapi.BUF_CONTIG, nr_pages, use, owner, flags & ~uapi.ALLOC_COMP)

    def alloc_contig(self, nr_pages: int, gfp: int, owner: Owner) -> int:
        """Allocate any number of frames in a row; gives the first."""
        return self._alloc_row(nr_pages, gfp, owner, "contiguous").pfn

    def free_pages(self, pfn: int, order: int) -> None:
        """Drop the allocation's reference."""
        buffer = self._allocation(pfn, 1 << order, "pages", "free_pages")
        self._drop(buffer)

    def free_contig(self, pfn: int, nr_pages: int) -> None:
        """Undo `alloc_contig`."""
        self._drop(self._allocation(pfn, nr_pages, "contiguous", "dma_free_coherent"))

    def _allocation(self, pfn: int, nr_pages: int, use: str, what: str) -> Buffer:
        found = self.buffers.of_frame(pfn)
        if found is None or found[0].use != use or found[0].is_freed:
            raise OSError(errno.EINVAL, f"{what}: double free, or nothing is allocated at {pfn:#x}")
        buffer, page = found
        if page or buffer.nr_pages != nr_pages:
            raise OSError(
                errno.EINVAL, f"{what}: {nr_pages} pages at pfn {pfn:#x}, which are part of "
                f"{buffer.nr_pages} at {buffer.pfn:#x}")  # fmt: skip
        return buffer

    def _drop(self, buffer: Buffer) -> None:
        if buffer.references:
            buffer.is_freed = True
        else:
            self.buffers.free(buffer)

    def frame(self, pfn: int) -> FrameState:
        """Give a snapshot of one frame's state."""
        page = self._look_at(pfn)
        flags = sum(1 << bit for flag, bit in _FLAGS if page.flags & flag)
        found = self.buffers.of_frame(pfn)
        if found is None:
            return FrameState(flags, page.refcount, page.mapcount, page.order, page.head, 1, OTHERS)
        buffer, _ = found
        if buffer.use == "kmalloc":
            flags |= 1 << PG_slab
        head = buffer.pfn if buffer.is_compound else pfn
        count = page.refcount + buffer.references.get(head, 0)
        if buffer.use == "vmalloc":
            return FrameState(flags, count, page.mapcount, 0, pfn, 1, buffer.owner)
        order = get_order(buffer.size)
        return FrameState(
            flags, count, page.mapcount, order, buffer.pfn, buffer.nr_pages, buffer.owner
        )

    def get_page(self, pfn: int) -> None:
        """Take a reference, which is kept here: nothing of ours is left when we die."""
        found = self.buffers.of_frame(pfn)
        if found is None:
            raise OSError(errno.EINVAL, f"get_page: pfn {pfn:#x} is not allocated here")
        buffer, _ = found
        head = buffer.pfn if buffer.is_compound else pfn
        buffer.references[head] = buffer.references.get(head, 0) + 1

    def put_page(self, pfn: int) -> None:
        """Drop a reference; the last one frees."""
        found = self.buffers.of_frame(pfn)
        if found is None:
            raise OSError(errno.EINVAL, f"put_page: pfn {pfn:#x} is free")
        buffer, page = found
        head = buffer.pfn if buffer.is_compound else pfn
        count = buffer.references.get(head, 0)
        if count > 1:
            buffer.references[head] = count - 1
        elif count:
            del buffer.references[head]
            if buffer.is_freed and not buffer.references:
                self.buffers.free(buffer)
        elif buffer.use == "pages" and (buffer.is_compound or buffer.nr_pages == 1):
            self._drop(buffer)
        else:
            raise OSError(errno.EINVAL, f"put_page: page {page} of an allocation of several")

    def page_address(self, pfn: int) -> int:
        """Give the frame's address in the direct map."""
        if not 0 <= pfn < self.nr_frames:
            self._look_at(pfn)
        return self._direct_map + (pfn << PAGE_SHIFT)

    def virt_to_pfn(self, addr: int) -> int:
        """Find the frame of a direct-map address."""
        pfn = addr - self._direct_map >> PAGE_SHIFT
        if not 0 <= pfn < self.nr_frames or self.is_vmalloc_addr(addr):
            raise OSError(errno.EINVAL, f"{addr:#x} is not in the direct map")
        return pfn

    # --- vmalloc ----------------------------------------------------------------------------

    def vmalloc(self, size: int, gfp: int, owner: Owner, vm_flags: int = 0) -> int:
        """Allocate an area."""
        if size <= 0:
            raise OSError(errno.EINVAL, f"vmalloc of {size} bytes")
        buffer = self._alloc(uapi.BUF_VMALLOC, pages_for(size), "vmalloc", owner)
        buffer.vm_flags = VM_ALLOC | vm_flags
        return buffer.address

    def _area(self, addr: int) -> Buffer:
        buffer = self.buffers.of_area(addr)
        if buffer is None or buffer.address != addr:
            raise OSError(errno.EINVAL, f"no vmalloc area starts at {addr:#x}")
        return buffer

    def vfree(self, addr: int) -> None:
        """Free the area that starts at ``addr``."""
        self._drop(self._area(addr))

    def vmalloc_to_pfn(self, addr: int) -> int:
        """Find the frame behind a vmalloc address."""
        buffer = self.buffers.of_area(addr)
        if buffer is None:
            raise OSError(errno.EINVAL, f"{addr:#x} is in no vmalloc area")
        pfn: int = buffer.pfns[addr - buffer.address >> PAGE_SHIFT]
        return pfn

    def vmalloc_runs(
        self, addr: int, first: int, nr_pages: int
    ) -> tuple[Kind, Sequence[tuple[int, int]]]:
        """Give a part of the area as what it is for the module: pages of a buffer in a row."""
        return "vmalloc", [((addr >> PAGE_SHIFT) + first, nr_pages)]

    def vmalloc_size(self, addr: int) -> int:
        """Give the usable bytes of the area that starts at ``addr``."""
        return self._area(addr).size

    def vmalloc_flags(self, addr: int) -> int:
        """Give the area's VM_ALLOC and VM_USERMAP bits."""
        return self._area(addr).vm_flags

    def is_vmalloc_addr(self, addr: int) -> bool:
        """Tell whether the address lies in an area of ours."""
        return self.buffers.of_area(addr) is not None

    # --- kmalloc ----------------------------------------------------------------------------

    def kmalloc(self, size: int, gfp: int, owner: Owner) -> int:
        """Allocate physically contiguous memory: whole pages, never shared with others."""
        if size < 0:
            raise OSError(errno.EINVAL, f"kmalloc of {size} bytes")
        if size == 0:
            return ZERO_SIZE_PTR
        order = get_order(size)
        if order > MAX_ORDER:
            raise OSError(errno.ENOMEM, f"kmalloc of {size} bytes")
        return self._alloc_row(1 << order, gfp, owner, "kmalloc").address

    def _object(self, addr: int, what: str) -> Buffer:
        found = self.buffers.of_frame(addr - self._direct_map >> PAGE_SHIFT)
        if found is None or found[0].use != "kmalloc" or found[0].address != addr:
            raise OSError(errno.EINVAL, f"{what}: double free, or no object starts at {addr:#x}")
        return found[0]

    def kfree(self, addr: int) -> None:
        """Free what `kmalloc` gave."""
        if addr not in (0, ZERO_SIZE_PTR):
            self.buffers.free(self._object(addr, "kfree"))

    def ksize(self, addr: int) -> int:
        """Give the usable bytes of what `kmalloc` gave."""
        return 0 if addr in (0, ZERO_SIZE_PTR) else self._object(addr, "ksize").size

    def memory(self, addr: int, size: int) -> memoryview:
        """Give a writable view of memory that is ours."""
        if size < 0:
            raise OSError(errno.EINVAL, f"{size} bytes")
        buffer = self.buffers.of_area(addr)
        if buffer is not None:
            start, end = addr - buffer.address, buffer.size
        else:
            found = self.buffers.of_frame(addr - self._direct_map >> PAGE_SHIFT)
            if found is None:
                raise OSError(errno.EFAULT, f"{addr:#x} is not memory that was allocated here")
            buffer, page = found
            start = (page << PAGE_SHIFT) + (addr & ~PAGE_MASK)
            # In the direct map the neighbours of a vmalloc'ed page are anybody's.
            end = (page + 1) << PAGE_SHIFT if buffer.use == "vmalloc" else buffer.size
        if start + size > end:
            raise OSError(errno.EFAULT, f"{addr:#x} and {size} bytes reach past what is allocated")
        return buffer.view[start : start + size]

    # --- mappings ---------------------------------------------------------------------------

    def areas(self, task: TaskStruct) -> list[VmAreaStruct]:
        """Refuse: only a client that waits for its own call can list its areas."""
        raise OSError(errno.EFAULT, f"{task!r} is no client whose call is being handled")

    def unmap_mapping_range(self, inode: Inode, start: int, size: int) -> None:
        """Take bytes of a device's file out of all areas that map them."""
        self._unmap(inode, start, size)

    def set_fasync(self, file: File, on: bool) -> None:
        """Have the module signal the owner of an open file, or not any more."""
        self.told_async.add(file)

    def kill_fasync(self, file: File, fd: int, sig: int, band: int) -> None:
        """Signal the owner of an open file."""
        number = self.async_files.get(file)
        if number is not None:
            with contextlib.suppress(FileNotFoundError):  # its release is on the way
                self._control.ioctl(uapi.IOC_SIGNAL, uapi.Signal(file=number, sig=sig, band=band))

    # --- the end ----------------------------------------------------------------------------

    def owned_by(self, owner: Owner) -> list[Allocation]:
        """List what an owner has allocated and not freed."""
        return [
            Allocation(buffer.use, buffer.address, buffer.size, buffer.pfn)
            for buffer in self.buffers.by_id.values()
            if buffer.owner == owner
        ]

    def reclaim(self, owner: Owner) -> list[Allocation]:
        """Free all that an owner has; gives what that was."""
        found = self.owned_by(owner)
        for buffer in tuple(self.buffers.by_id.values()):
            if buffer.owner == owner:
                self.buffers.take_back(buffer)
        return found
