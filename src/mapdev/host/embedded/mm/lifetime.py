"""`Leases` learns from the kernel which mappings have ended in all clients, and frees their frames.

Each mapping is made through an open file description of its own of physical memory's memfd. Every
area that comes of it (also by fork, by a split, by mremap) refers to that description, and the
kernel frees it with the last of them: after munmap, exec, exit, kill -9, in whatever process. We
see that in two steps: inotify tells that *some* description was freed, and a byte lock that
belongs to the description (one byte a lease) tells which. So nothing that a client does, and no
fork that we did not see, can make us think that a mapping is gone while it is there, or miss its
end.

Objects: a `Lease` keeps a `Hold` on its frames and a use of its open file. Called in the host's
thread only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from mapdev.host.embedded.libc import IN_CLOSE, byte_is_locked, inotify_of, lock_byte
from mapdev.host.embedded.memory.frames import Hold
from mapdev.host.embedded.memory.physical import PhysicalMemory
from mapdev.host.embedded.watcher import Watcher
from mapdev.linux.numbers import PAGE_SHIFT, PAGE_SIZE
from mapdev.linux.vma import Kind, Mapped, VmAreaStruct

_MORE_SWEEPS = 2
_FRAMES = itemgetter(1, 2)  # of a `Mapped`: the first and how many


class Lease:
    """One mapping of a device in clients.

    :ivar vma: the area as the driver's mmap operation left it; /proc shows which clients still map
        which part of it.
    :ivar tgid: the process that made it.
    :ivar areas: how many known areas show it: the first, its copies and pieces.
    """

    __slots__ = ("_held", "areas", "holds", "index", "tgid", "vma")

    def __init__(self, index: int, vma: VmAreaStruct, tgid: int, holds: list[Hold]) -> None:
        self.index = index
        self.vma = vma
        self.tgid = tgid
        self.holds = holds
        self.areas = 0
        self._held: set[tuple[int, str]] = set()  # what was added since, page by page

    def is_new(self, pfn: int, kind: str) -> bool:
        """Say, once, that a frame is not yet held by a fault."""
        if (pfn, kind) in self._held:
            return False
        self._held.add((pfn, kind))
        return True

    def index_of(self, pfn: int, addr: int) -> int | None:
        """Return at which page of the area frame `pfn` was mapped, None if it was not."""
        vma = self.vma
        for run in vma.mapped:
            if run.pfn <= pfn < run.pfn + run.nr_pages:
                return (run.addr - vma.vm_start >> PAGE_SHIFT) + pfn - run.pfn
        is_hole = vma.vm_start <= addr < vma.vm_end and not vma.is_mapped(addr, addr + PAGE_SIZE)
        return addr - vma.vm_start >> PAGE_SHIFT if is_hole else None


class Leases:
    """Keeps all live mappings and finds those that have ended.

    :param watcher: watches descriptors.
    :param changed: called when some may have ended, to `sweep`.
    :ivar events: a descriptor, readable then; None before `begin`.
    """

    def __init__(
        self, memory: PhysicalMemory, watcher: Watcher, changed: Callable[[], None]
    ) -> None:
        self._memory = memory
        self._watcher = watcher
        self._changed = changed
        self._path = f"/proc/self/fd/{memory.fd}"
        self.events: int | None = None
        self._live: dict[int, Lease] = {}
        self._dying: dict[int, Lease] = {}  # those of which no area is known any more
        self._next = 0
        self.due = 0

    def __iter__(self) -> Iterator[Lease]:
        return iter(list(self._live.values()))

    def __contains__(self, index: int) -> bool:
        return index in self._live

    def __len__(self) -> int:
        return len(self._live)

    def begin(self) -> None:
        """Begin to watch mappings; not in vain, since to stop that takes the kernel 10 ms."""
        if self.events is None:
            self.events = inotify_of(self._path, IN_CLOSE)
            self._watcher.watch(self.events, self._changed)

    def open_description(self, writable: bool) -> tuple[int, int]:
        """Return a descriptor of a new description of physical memory, and its lock's index.

        A description that is not writable keeps mprotect(2) from adding PROT_WRITE later.
        """
        self.begin()
        fd = os.open(self._path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        index = self._next
        self._next += 1
        lock_byte(fd, index, writable)
        return fd, index

    def add(self, index: int, vma: VmAreaStruct, tgid: int) -> Lease:
        """Count the mapping `vma`, made through description `index`, as alive."""
        runs: dict[Kind, list[tuple[int, int]]] = {}
        for kind, of_kind in groupby(vma.mapped, itemgetter(3)):
            runs.setdefault(kind, []).extend(map(_FRAMES, of_kind))
        holds = [self._memory.hold(found, kind) for kind, found in runs.items()]
        lease = Lease(index, vma, tgid, holds)
        self._live[index] = self._dying[index] = lease
        return lease

    def extend(self, index: int, runs: Sequence[Mapped]) -> None:
        """Hold frames that a fault maps into the areas of lease `index`."""
        lease = self._live[index]
        new: dict[Kind, list[tuple[int, int]]] = {}
        for _, first, nr_pages, kind, _ in runs:
            for pfn in range(first, first + nr_pages):
                if lease.is_new(pfn, kind):
                    new.setdefault(kind, []).append((pfn, 1))
        for kind, pages in new.items():
            lease.holds.append(self._memory.hold(pages, kind))

    def find(self, pfn: int, addr: int, tgid: int) -> tuple[Lease, int] | None:
        """Return the mapping that shows frame `pfn` at `addr`, and the page's index in its area.

        The best match wins: made by process `tgid`, at the place where it was made. Pages that
        the driver left out all have the first frame number beyond memory.
        """
        best: tuple[Lease, int] | None = None
        best_rank = (False, False)
        for lease in self._live.values():
            index = lease.index_of(pfn, addr)
            if index is None:
                continue
            in_place = lease.vma.vm_start + (index << PAGE_SHIFT) == addr
            rank = (lease.tgid == tgid, in_place)
            if best is None or rank > best_rank:
                best, best_rank = (lease, index), rank
        return best

    def area_began(self, index: int) -> None:
        """An area of lease `index` has come into being, in whatever client."""
        lease = self._live.get(index)
        if lease is not None:
            lease.areas += 1
            self._dying.pop(index, None)

    def area_ended(self, index: int) -> None:
        """An area of lease `index` is gone, or about to go."""
        lease = self._live.get(index)
        if lease is not None:
            lease.areas -= 1
            if not lease.areas:
                self._dying[index] = lease
                self.due = _MORE_SWEEPS

    def sweep(self) -> list[Lease]:
        """Return the mappings that ended since the last sweep; their frames are given back.

        Only those are looked at of which no area is known any more: there may be thousands of
        others. The kernel announces the end of a description just before it drops the lock, so one
        that was announced may look alive for an instant: after an announcement `needs_sweep` asks
        for a few more sweeps.
        """
        if self.events is None:
            return []
        self.due = max(0, self.due - 1)
        with contextlib.suppress(BlockingIOError):
            if os.read(self.events, 4096):
                self.due = _MORE_SWEEPS
        ended = [lease for lease in self._dying.values() if not self._alive(lease)]
        for lease in ended:
            del self._dying[lease.index]
            del self._live[lease.index]
            self._let_go(lease)
        return ended

    @property
    def needs_sweep(self) -> bool:
        """Whether another sweep is due soon, without a new event."""
        return bool(self.due and self._dying)

    def _let_go(self, lease: Lease) -> None:
        for hold in lease.holds:
            self._memory.release(hold)

    def _alive(self, lease: Lease) -> bool:
        return byte_is_locked(self._memory.fd, lease.index)

    def close(self) -> None:
        """Stop watching; what still lives is given back."""
        for lease in self._live.values():
            self._let_go(lease)
        self._live.clear()
        self._dying.clear()
        if self.events is not None:
            os.close(self.events)
