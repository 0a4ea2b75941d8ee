"""`Frames` allocates page frames and keeps their reference counts and owners.

An allocation lives from `alloc` to the drop of its last reference. If a client maps any part of it
then (a hold, see holds.py), its frames are *held back*: nobody's, but not given out, until the last
hold is released. Frames are given out holding zeros: freed ones are marked dirty, or their memory
is given back to the system, and what is dirty is cleared when it is given out again. No lock: the
caller holds the host's.
"""

import errno
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mapdev.host.embedded.memory import mem_map as mm
from mapdev.host.embedded.memory.buddy import Buddy
from mapdev.host.embedded.memory.pcp import SingleFrames, scatter
from mapdev.host.embedded.memory.store import PUNCH_PAGES, Store
from mapdev.linux.context import FrameState, Owner
from mapdev.linux.page import PG_buddy, PG_head, PG_held, PG_reserved, PG_slab, PG_tail

_FREED_BY = {
    mm.PAGES: "free_pages",
    mm.COMPOUND: "free_pages",
    mm.CONTIG: "dma_free_coherent",
    mm.VMALLOC: "vfree",
    mm.SLAB: "kfree",
    mm.KMALLOC: "kfree",
}
# These belong to a vmalloc area or to several kmalloc objects, which keep track of them.
_PARTS = (mm.VMALLOC, mm.SLAB)


class Counts(NamedTuple):
    """How many frames are in each state; frame 0, which is never given out, is not counted."""

    total: int
    free: int
    used: int
    held: int  # freed by their owner, but still mapped by a client


class Hold:
    """A claim on frames that a client maps."""

    __slots__ = ("heads", "kind", "parts", "runs")

    def __init__(
        self,
        runs: Sequence[tuple[int, int]],
        kind: str,
        heads: list[int],
        parts: list[tuple[int, int]],
    ) -> None:
        """Describe a claim; `hold` in holds.py makes it."""
        self.runs = runs
        self.kind = kind
        self.heads: list[int] | None = heads  # one entry an allocation a run; None once released
        self.parts = parts  # of pages with one count for all: the head, how many pages


class Frames:
    """The frames of a machine and who has them."""

    __slots__ = (
        "_by_owner",
        "buddy",
        "map",
        "nr_frames",
        "nr_held",
        "owner_numbers",
        "owners",
        "singles",
        "store",
    )

    def __init__(self, nr_frames: int, store: Store) -> None:
        """Begin with all frames but number 0 free."""
        self.nr_frames = nr_frames
        self.store = store
        self.map = mm.MemMap(nr_frames)
        self.map.use[0] = mm.RESERVED
        self.buddy = Buddy(1, nr_frames)
        self.singles = SingleFrames(self.buddy)
        self.nr_held = 0
        # Owners are numbered for the map. A number is never used again, since frames that are held
        # back keep it.
        self.owners: list[Owner | None] = []
        self.owner_numbers: dict[Owner, int] = {}
        self._by_owner: list[dict[int, bool]] = []  # heads of what _PARTS doesn't list

    # Looking

    def check(self, pfn: int) -> None:
        """Raise EINVAL unless the machine has the frame."""
        if not 0 <= pfn < self.nr_frames:
            raise OSError(
                errno.EINVAL,
                f"pfn {pfn:#x} is not a frame of this machine (0 to {self.nr_frames - 1:#x})",
            )

    @property
    def nr_free(self) -> int:
        """How many frames are free."""
        return self.buddy.nr_free + len(self.singles)

    def counts(self) -> Counts:
        """Count the frames in each state."""
        total, free = self.nr_frames - 1, self.nr_free
        return Counts(total, free, total - free - self.nr_held, self.nr_held)

    def owner_number(self, owner: Owner) -> int:
        """Give the number under which the map knows an owner."""
        number = self.owner_numbers.get(owner)
        if number is None:
            number = self.owner_numbers[owner] = len(self.owners)
            self.owners.append(owner)
            self._by_owner.append({})
        return number

    def forget_owner(self, owner: Owner) -> None:
        """Let go of an owner that has no frames any more."""
        number = self.owner_numbers.pop(owner, None)
        if number is not None:
            self.owners[number] = None

    def owned_by(self, owner: Owner) -> list[int]:
        """Give the heads of an owner's allocations, apart from those inside vmalloc and slab."""
        number = self.owner_numbers.get(owner)
        return [] if number is None else list(self._by_owner[number])

    def frame(self, pfn: int) -> FrameState:
        """Give a snapshot of a frame's state."""
        if not 0 <= pfn < self.nr_frames:
            self.check(pfn)
        use = self.map.use[pfn]
        if use == mm.FREE:
            order = max(self.buddy.order_of(pfn), 0)  # single frames in stock are in no block
            return FrameState(1 << PG_buddy, 0, 0, order, pfn, 0, None)
        if use == mm.RESERVED:
            return FrameState(1 << PG_reserved, 1, 0, 0, pfn, 0, None)
        head = self.map.head[pfn]
        nr_pages = self.map.length[head]
        mapcount = self.map.mapcount[pfn]
        compound = nr_pages > 1 and use in (mm.COMPOUND, mm.KMALLOC)
        if compound:
            refcount = self.map.refcount[head] + self.map.page_refs.get(head, 0)
        elif use == mm.HELD and nr_pages > 1:
            refcount = self.map.refcount[head] + sum(self.map.mapcount[head : head + nr_pages])
        elif pfn == head or use == mm.VMALLOC:
            refcount = self.map.refcount[head] + mapcount
        else:
            refcount = mapcount
        flags = 0
        if compound:
            flags = 1 << PG_head if pfn == head else 1 << PG_tail
        if use in (mm.SLAB, mm.KMALLOC):
            flags |= 1 << PG_slab
        elif use == mm.HELD:
            flags = 1 << PG_held
        return FrameState(
            flags,
            refcount,
            mapcount,
            (nr_pages - 1).bit_length(),
            head,
            0 if use == mm.HELD else nr_pages,
            self.owners[self.map.owner[head]],
        )

    # Allocating

    def alloc(self, order: int, use: int, owner: int) -> int:
        """Allocate a naturally aligned block; gives its head (ENOMEM)."""
        if order == 0:
            pfn = self.singles.alloc()
        else:
            pfn = self.buddy.alloc(order)
            if pfn < 0:
                self.singles.drain()
                pfn = self.buddy.alloc(order)
        if pfn < 0:
            raise self.out_of_memory(f"a block of order {order}")
        self._give_out(pfn, 1 << order, use, owner)
        return pfn

    def alloc_range(self, nr_pages: int, use: int, owner: int) -> int:
        """Allocate frames in a row; gives the head (ENOMEM)."""
        if nr_pages == 1:
            return self.alloc(0, use, owner)
        pfn = self.buddy.alloc_range(nr_pages)
        if pfn < 0:
            self.singles.drain()
            pfn = self.buddy.alloc_range(nr_pages)
        if pfn < 0:
            raise self.out_of_memory(f"{nr_pages} frames in a row")
        self._give_out(pfn, nr_pages, use, owner)
        return pfn

    def alloc_scattered(self, nr_pages: int, order: int, use: int, owner: int) -> list[int]:
        """Allocate blocks of one order, the last maybe shorter, in scattered order (ENOMEM)."""
        if nr_pages > self.nr_free:
            raise self.out_of_memory(f"{nr_pages} frames")
        count = -(-nr_pages >> order)
        if order == 0:
            heads = [self.singles.alloc() for _ in range(count)]
        else:
            self.singles.drain()
            blocks = [pfn for _ in range(count) if (pfn := self.buddy.alloc(order)) >= 0]
            if len(blocks) < count:
                for pfn in blocks:
                    self.buddy.free(pfn, order)
                raise self.out_of_memory(f"{count} blocks of order {order}")
            heads = scatter(sorted(blocks))
        full = 1 << order
        for head in heads[:-1]:
            self._give_out(head, full, use, owner)
        rest = nr_pages - (count - 1) * full
        if rest < full:
            self.buddy.free_range(heads[-1] + rest, full - rest)
        self._give_out(heads[-1], rest, use, owner)
        return heads

    def out_of_memory(self, wanted: str) -> OSError:
        """Make the error that says what there was no memory for."""
        return OSError(
            errno.ENOMEM, f"out of memory: {wanted} wanted, {self.nr_free} frames are free"
        )

    def _give_out(self, pfn: int, nr_pages: int, use: int, owner: int) -> None:
        dirty = self.map.dirty
        if nr_pages == 1:
            if dirty[pfn]:
                dirty[pfn] = 0
                self.store.zero(pfn, 1)
        elif dirty.find(b"\1", pfn, pfn + nr_pages) >= 0:
            dirty[pfn : pfn + nr_pages] = bytes(nr_pages)
            self.store.zero(pfn, nr_pages)
        self.map.mark(pfn, nr_pages, use, owner)
        if use not in _PARTS:
            self._by_owner[owner][pfn] = True

    # References and freeing

    def _counted(self, pfn: int, verb: str) -> int:
        """Give the head that counts the references to a frame; EINVAL when none does."""
        self.check(pfn)
        use = self.map.use[pfn]
        if use < mm.PAGES:
            raise OSError(errno.EINVAL, f"{verb}: pfn {pfn:#x} is not allocated")
        head = self.map.head[pfn]
        if head != pfn and use in (mm.PAGES, mm.CONTIG):
            raise OSError(
                errno.EINVAL,
                f"{verb}: pfn {pfn:#x} has no reference count of its own: the block at {head:#x} "
                "was allocated without __GFP_COMP",
            )
        return head

    def get_page(self, pfn: int) -> None:
        """Take a reference."""
        self.map.refcount[self._counted(pfn, "get_page")] += 1

    def put_page(self, pfn: int) -> None:
        """Drop a reference; the last one frees."""
        head = self._counted(pfn, "put_page")
        if self.map.refcount[head] == 1 and self.map.use[head] in _PARTS:
            how = _FREED_BY[self.map.use[head]]
            raise OSError(errno.EINVAL, f"put_page: pfn {pfn:#x} is in use, {how} frees it")
        if self.map.refcount[head] > 1 and self.map.use[head] not in _PARTS:
            self.map.refcount[head] -= 1
        else:
            self.drop((head,))

    def free(self, pfn: int, nr_pages: int, uses: tuple[int, ...], what: str) -> None:
        """Drop the reference that came with an allocation, after checking that this is one."""
        self.check(pfn)
        use = self.map.use[pfn]
        if use in (mm.FREE, mm.HELD):
            raise OSError(errno.EINVAL, f"{what}: double free, pfn {pfn:#x} is free already")
        if use == mm.RESERVED:
            raise OSError(errno.EINVAL, f"{what}: pfn {pfn:#x} is reserved")
        head = self.map.head[pfn]
        if use not in uses:
            raise OSError(errno.EINVAL, f"{what}: pfn {pfn:#x} is freed by {_FREED_BY[use]}")
        if head != pfn:
            raise OSError(
                errno.EINVAL, f"{what}: pfn {pfn:#x} lies inside the allocation at {head:#x}"
            )
        if self.map.length[pfn] != nr_pages:
            raise OSError(
                errno.EINVAL,
                f"{what}: wrong length, {nr_pages} pages freed at pfn {pfn:#x}, where "
                f"{self.map.length[pfn]} were allocated",
            )
        self.drop((pfn,))

    def drop(self, heads: Iterable[int], all_references: bool = False) -> None:
        """Drop a reference of each allocation (or all) and free those that have none left."""
        state = self.map
        unused: list[int] = []
        for head in heads:
            left = 0 if all_references else state.refcount[head] - 1
            state.refcount[head] = left
            use = state.use[head]
            if left:
                if use in _PARTS:  # outlives its area or slab by a get_page: list it
                    state.set_use(head, state.length[head], mm.COMPOUND)
                    self._by_owner[state.owner[head]][head] = True
                continue
            if use not in _PARTS:
                del self._by_owner[state.owner[head]][head]
            if state.holds[head]:
                state.set_use(head, state.length[head], mm.HELD)
                self.nr_held += state.length[head]
            else:
                unused.append(head)
        self.give_back(unused)

    def give_back(self, heads: list[int]) -> None:
        """Make allocations free; long ones and many in a row at once."""
        if not heads:
            return
        state = self.map
        heads.sort()
        at = 0
        while at < len(heads):
            pfn = heads[at]
            end = pfn + state.length[pfn]
            at += 1
            while at < len(heads) and heads[at] == end:
                end += state.length[end]
                at += 1
            nr_pages = end - pfn
            state.set_use(pfn, nr_pages, mm.FREE)
            if nr_pages == 1:
                state.dirty[pfn] = 1
                self.singles.free(pfn)
                continue
            if nr_pages < PUNCH_PAGES or not self.store.punch(pfn, nr_pages):
                state.dirty[pfn:end] = b"\1" * nr_pages
            self.buddy.free_range(pfn, nr_pages)
