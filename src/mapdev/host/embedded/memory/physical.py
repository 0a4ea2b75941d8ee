"""`PhysicalMemory` offers frames and all allocators to the rest of the host, by kernel addresses.

It composes the layers of this package and owns the memfd and both mappings of it, from its
construction to `close`. It implements the part of `mapdev.linux.context.Machine` that is about
memory. Every method is called under the host's lock; there is none in here.
"""

import errno
from collections.abc import Sequence

from mapdev.host.allocation import Allocation
from mapdev.host.embedded.memory import mem_map as mm
from mapdev.host.embedded.memory.frames import Counts, Frames, Hold
from mapdev.host.embedded.memory.holds import Holds
from mapdev.host.embedded.memory.slab import SIZES, Slab
from mapdev.host.embedded.memory.store import Store
from mapdev.host.embedded.memory.vmalloc import MAX_RUNS, VmallocSpace
from mapdev.linux.context import FrameState, Owner
from mapdev.linux.numbers import (
    GFP_COMP,
    GFP_ZERO,
    MAX_ORDER,
    PAGE_ALIGN,
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_ALLOC,
    VM_USERMAP,
    get_order,
)
from mapdev.linux.slab import ZERO_SIZE_PTR
from mapdev.linux.vma import Kind

_NAMES = {mm.PAGES: "pages", mm.COMPOUND: "pages", mm.CONTIG: "contiguous", mm.KMALLOC: "kmalloc"}


class PhysicalMemory:
    """A machine's frames and all ways to allocate them."""

    __slots__ = ("_closed", "_frames", "_holds", "_slab", "_store", "_vmalloc", "nr_frames", "size")

    def __init__(self, size: int = 1 << 30) -> None:
        """Make a machine's memory; none of it is used until it is written.

        :param size: bytes, rounded up to whole pages
        :raises ValueError: less than two pages (frame 0 is never given out)
        :raises OSError: ENOMEM, no room for the addresses
        """
        self.size = PAGE_ALIGN(size)
        self.nr_frames = self.size >> PAGE_SHIFT
        if self.nr_frames < 2:
            raise ValueError(f"{size} bytes are too little memory for a machine")
        self._closed = False
        self._store = Store(self.nr_frames)
        try:
            self._vmalloc = VmallocSpace(self._store, self.size)
        except BaseException:
            self._store.close()
            raise
        self._frames = Frames(self.nr_frames, self._store)
        self._slab = Slab(self._frames)
        self._holds = Holds(self._frames)

    @property
    def fd(self) -> int:
        """The memfd: frame N is the page at ``N * PAGE_SIZE``."""
        return self._store.fd

    def close(self) -> None:
        """Give everything back to the system; views that are still used stay valid."""
        if not self._closed:
            self._closed = True
            self._vmalloc.close()
            self._store.close()

    # Pages

    def alloc_pages(self, order: int, gfp: int, owner: Owner) -> int:
        """Allocate a block of ``1 << order`` frames; gives the first."""
        if not 0 <= order <= MAX_ORDER:
            raise OSError(errno.ENOMEM, f"alloc_pages: order {order} is not in 0 to {MAX_ORDER}")
        use = mm.COMPOUND if gfp & GFP_COMP else mm.PAGES
        return self._frames.alloc(order, use, self._frames.owner_number(owner))

    def alloc_contig(self, nr_pages: int, gfp: int, owner: Owner) -> int:
        """Allocate any number of frames in a row; gives the first."""
        if nr_pages < 1:
            raise OSError(errno.EINVAL, f"alloc_contig: {nr_pages} pages")
        return self._frames.alloc_range(nr_pages, mm.CONTIG, self._frames.owner_number(owner))

    def free_pages(self, pfn: int, order: int) -> None:
        """Free what `alloc_pages` gave; EINVAL when this isn't it."""
        nr_pages = 1 << order if 0 <= order <= MAX_ORDER else 0
        self._frames.free(pfn, nr_pages, (mm.PAGES, mm.COMPOUND), "free_pages")

    def free_contig(self, pfn: int, nr_pages: int) -> None:
        """Free what `alloc_contig` gave; EINVAL when this isn't it."""
        self._frames.free(pfn, nr_pages, (mm.CONTIG,), "free_contig")

    def frame(self, pfn: int) -> FrameState:
        """Give a snapshot of one frame's state."""
        return self._frames.frame(pfn)

    def get_page(self, pfn: int) -> None:
        """Take a reference."""
        self._frames.get_page(pfn)

    def put_page(self, pfn: int) -> None:
        """Drop a reference; the last one frees."""
        self._frames.put_page(pfn)

    def page_address(self, pfn: int) -> int:
        """Give the frame's address in the direct map."""
        self._frames.check(pfn)
        return self._store.base + (pfn << PAGE_SHIFT)

    def virt_to_pfn(self, addr: int) -> int:
        """Find the frame of a direct-map address."""
        return self._physical(addr) >> PAGE_SHIFT

    def _physical(self, addr: int) -> int:
        offset = addr - self._store.base
        if 0 <= offset < self.size:
            return offset
        if addr in self._vmalloc:
            raise OSError(
                errno.EINVAL, f"{addr:#x} is a vmalloc address: use vmalloc_to_page for it"
            )
        raise OSError(errno.EINVAL, f"{addr:#x} is not a kernel address")

    # vmalloc

    def vmalloc(self, size: int, gfp: int, owner: Owner, vm_flags: int = 0) -> int:
        """Allocate scattered frames and show them at addresses in a row."""
        if size <= 0:
            raise OSError(errno.EINVAL, f"vmalloc of {size} bytes")
        nr_pages = PAGE_ALIGN(size) >> PAGE_SHIFT
        number = self._frames.owner_number(owner)
        # Single frames as long as that is not too many mappings, else as small blocks as possible.
        order = ((nr_pages - 1) // MAX_RUNS).bit_length()
        while True:
            try:
                heads = self._frames.alloc_scattered(nr_pages, order, mm.VMALLOC, number)
                break
            except OSError:
                if order == 0 or nr_pages > self._frames.nr_free:
                    raise
                order -= 1  # memory is in smaller pieces
        flags = VM_ALLOC | (vm_flags & VM_USERMAP)
        try:
            return self._vmalloc.map(heads, order, nr_pages, flags, number).addr
        except OSError:
            self._frames.drop(heads)
            raise

    def vfree(self, addr: int) -> None:
        """Free an area."""
        area = self._vmalloc.starting_at(addr, "vfree")
        self._vmalloc.unmap(area)
        self._frames.drop(area.heads)

    def vmalloc_to_pfn(self, addr: int) -> int:
        """Find the frame behind a vmalloc address."""
        area = self._vmalloc.holding(addr)
        if area is None:
            raise OSError(errno.EINVAL, f"{addr:#x} is in no vmalloc area")
        return area.pfn_at(addr)

    def vmalloc_runs(
        self, addr: int, first: int, nr_pages: int
    ) -> tuple[Kind, Sequence[tuple[int, int]]]:
        """Give the frames behind a part of the area that starts at an address."""
        return "page", self._vmalloc.starting_at(addr, "vmalloc_runs").runs(first, nr_pages)

    def vmalloc_size(self, addr: int) -> int:
        """Give the usable bytes of the area that starts at an address."""
        return self._vmalloc.starting_at(addr, "vmalloc_size").size

    def vmalloc_flags(self, addr: int) -> int:
        """Give the VM_ALLOC and VM_USERMAP bits of the area that starts at an address."""
        return self._vmalloc.starting_at(addr, "vmalloc_flags").flags

    def is_vmalloc_addr(self, addr: int) -> bool:
        """Tell whether an address lies in the vmalloc range."""
        return addr in self._vmalloc

    # kmalloc

    def kmalloc(self, size: int, gfp: int, owner: Owner) -> int:
        """Allocate physically contiguous memory, aligned to a page from a page up."""
        if size <= 0:
            if size < 0:
                raise OSError(errno.EINVAL, f"kmalloc of {size} bytes")
            return ZERO_SIZE_PTR
        number = self._frames.owner_number(owner)
        if size <= SIZES[-1]:
            offset = self._slab.alloc(size, number)
            if gfp & GFP_ZERO:
                self._store.direct[offset : offset + size] = bytes(size)
            return self._store.base + offset
        order = get_order(size)
        if order <= MAX_ORDER:
            pfn = self._frames.alloc(order, mm.KMALLOC, number)
        else:
            nr_pages = PAGE_ALIGN(size) >> PAGE_SHIFT
            pfn = self._frames.alloc_range(nr_pages, mm.KMALLOC, number)
        return self._store.base + (pfn << PAGE_SHIFT)

    def kfree(self, addr: int) -> None:
        """Free what `kmalloc` gave; 0 (NULL) and what kmalloc(0) gave are fine."""
        if addr in (0, ZERO_SIZE_PTR):
            return
        physical = self._physical(addr)
        pfn = physical >> PAGE_SHIFT
        use = self._frames.map.use[pfn]
        if use == mm.SLAB:
            self._slab.free(physical)
        elif use == mm.KMALLOC and addr & ~PAGE_MASK:
            raise OSError(errno.EINVAL, f"kfree: {addr:#x} is not the start of its allocation")
        else:
            self._frames.free(pfn, self._frames.map.length[pfn], (mm.KMALLOC,), "kfree")

    def ksize(self, addr: int) -> int:
        """Give the usable bytes of what `kmalloc` gave."""
        if addr in (0, ZERO_SIZE_PTR):
            return 0
        physical = self._physical(addr)
        page = self._slab.find(physical)
        if page is not None:
            return page.size
        state = self._frames.map
        pfn = physical >> PAGE_SHIFT
        if physical & ~PAGE_MASK or state.use[pfn] != mm.KMALLOC or state.head[pfn] != pfn:
            raise OSError(errno.EINVAL, f"ksize: no kmalloc'ed memory starts at {addr:#x}")
        return state.length[pfn] << PAGE_SHIFT

    def memory(self, addr: int, size: int) -> memoryview:
        """Give a writable view of allocated memory; EFAULT when any of it is not."""
        if size <= 0:
            if size < 0:
                raise OSError(errno.EINVAL, f"memory of {size} bytes")
            return memoryview(bytearray())
        offset = addr - self._store.base
        if 0 <= offset < self.size:
            if self._is_allocated(offset, size):
                return memoryview(self._store.direct)[offset : offset + size]
        else:
            area = self._vmalloc.holding(addr)
            if area is not None and addr + size <= area.addr + area.size:
                return self._vmalloc.view(addr, size)
        raise OSError(errno.EFAULT, f"not all of {addr:#x} to {addr + size:#x} is allocated")

    def _is_allocated(self, offset: int, size: int) -> bool:
        state = self._frames.map
        pfn = offset >> PAGE_SHIFT
        end = (offset + size + PAGE_SIZE - 1) >> PAGE_SHIFT
        if end > self.nr_frames:
            return False
        if state.use[pfn] == mm.SLAB:
            return self._slab.covers(offset, size)
        while pfn < end:
            if state.use[pfn] < mm.PAGES or state.use[pfn] == mm.SLAB:
                return False
            head = state.head[pfn]
            pfn = head + state.length[head]
        return True

    # Clients and owners

    def hold(self, runs: Sequence[tuple[int, int]], kind: Kind = "pfn") -> Hold:
        """Keep frames from being given out again, whatever their owner does: a client maps them.

        :param runs: first frame and number of frames, of allocated frames
        :param kind: as in `Mapped`; "page" counts in the frames' refcount and mapcount
        :raises OSError: EINVAL, a frame is not allocated
        """
        return self._holds.hold(runs, kind)

    def release(self, hold: Hold) -> None:
        """End a hold; what was freed meanwhile and is held by nobody else becomes free.

        :raises OSError: EINVAL, it has been released already
        """
        self._holds.release(hold)

    def counts(self) -> Counts:
        """Count the frames that are free, used and held back."""
        return self._frames.counts()

    def owned_by(self, owner: Owner) -> list[Allocation]:
        """List what an owner has allocated and not freed."""
        frames, base = self._frames, self._store.base
        number = frames.owner_numbers.get(owner)
        if number is None:
            return []
        found = [
            Allocation(
                _NAMES[frames.map.use[pfn]],
                base + (pfn << PAGE_SHIFT),
                frames.map.length[pfn] << PAGE_SHIFT,
                pfn,
            )
            for pfn in frames.owned_by(owner)
        ]
        found += [
            Allocation("kmalloc", base + address, size, address >> PAGE_SHIFT)
            for address, size in self._slab.owned_by(number)
        ]
        found += [
            Allocation("vmalloc", area.addr, area.size, area.heads[0])
            for area in self._vmalloc.areas()
            if area.owner == number
        ]
        return found

    def reclaim(self, owner: Owner) -> list[Allocation]:
        """Free all that an owner has allocated, whoever took references; gives what that was."""
        found = self.owned_by(owner)
        for allocation in found:
            if allocation.kind == "vmalloc":
                self.vfree(allocation.addr)
            elif self._slab.find(allocation.addr - self._store.base) is not None:
                self._slab.free(allocation.addr - self._store.base)
        # The rest, with what vmalloc and slab gave up but somebody still refers to.
        self._frames.drop(self._frames.owned_by(owner), all_references=True)
        self._frames.forget_owner(owner)
        return found
