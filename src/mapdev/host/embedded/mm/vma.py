"""`DeviceArea` is one area (VMA) of a device in a client, with the frames mapped in it.

Objects: a `DeviceArea` is the `VmAreaStruct` that the driver knows; `MmAreas` has those of a
process. It keeps neither frames nor its open file alive: that a `Lease` does, which follows the
real mappings. Used in the host's thread only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mapdev.host.embedded.files.open_file import OpenFile
from mapdev.linux.numbers import PAGE_SHIFT
from mapdev.linux.vma import Kind, Mapped, VmAreaStruct

VM_SEALED = 1 << 63  # mseal: it can't be changed or unmapped any more


class DeviceArea(VmAreaStruct):
    """An area of a device in a client.

    :ivar open_file: what was mapped.
    :ivar lease: the index of the lease of its frames.
    :ivar policy: of its memory (mbind): mode and nodes, as the client gave them; None: the default.
    :ivar fresh: while a fault operation runs, the runs that it maps.
    """

    __slots__ = ("fresh", "lease", "open_file", "policy")

    def __init__(
        self, open_file: OpenFile, start: int, end: int, pgoff: int = 0, flags: int = 0
    ) -> None:
        super().__init__(start, end, pgoff, flags, vm_file=open_file.file)
        self.open_file = open_file
        self.lease = -1
        self.policy: tuple[int, bytes] | None = None
        self.fresh: list[Mapped] | None = None

    def record(self, addr: int, pfn: int, nr_pages: int, kind: Kind, prot: int) -> None:
        """Write down that a free stretch shall show these frames."""
        run = Mapped(addr, pfn, nr_pages, kind, prot)
        self._append(run)
        if self.fresh is not None:
            self.fresh.append(run)

    def record_runs(
        self, addr: int, runs: Sequence[tuple[int, int]], kind: Kind, prot: int
    ) -> None:
        """Do what `record` does, for runs of frames at addresses in a row."""
        if self.fresh is None:
            super().record_runs(addr, runs, kind, prot)
        else:
            for pfn, nr_pages in runs:
                self.record(addr, pfn, nr_pages, kind, prot)
                addr += nr_pages << PAGE_SHIFT

    @property
    def faults(self) -> bool:
        """Whether pages that are not there are asked of the driver."""
        ops = self.vm_ops
        return ops is not None and (ops.fault is not None or ops.map_pages is not None)

    def holes(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of [`start`, `end`) where nothing is mapped."""
        at = start
        for first, last in zip(self._starts, self._ends, strict=True):
            if first >= end:
                break
            if last > at:
                if first > at:
                    yield at, first
                at = last
        if at < end:
            yield at, end

    def piece(self, start: int, end: int, shift: int = 0) -> DeviceArea:
        """Return an area for [`start`, `end`) of this one, moved by `shift` bytes."""
        pgoff = self.vm_pgoff + (start - self.vm_start >> PAGE_SHIFT)
        piece = DeviceArea(self.open_file, start + shift, end + shift, pgoff, self.vm_flags)
        piece.vm_page_prot = self.vm_page_prot
        piece.vm_mm = self.vm_mm
        piece.vm_ops = self.vm_ops
        piece.vm_private_data = self.vm_private_data
        piece.lease = self.lease
        piece.policy = self.policy
        if (start, end, shift) == (self.vm_start, self.vm_end, 0):
            piece.mapped, piece._starts, piece._ends = (
                self.mapped.copy(), self._starts.copy(), self._ends.copy()
            )  # fmt: skip
            return piece
        for run in self.mapped:
            first, last = max(run.addr, start), min(run.end, end)
            if first < last:
                pfn = run.pfn + (first - run.addr >> PAGE_SHIFT)
                pages = last - first >> PAGE_SHIFT
                piece.record(first + shift, pfn, pages, run.kind, run.prot)
        return piece

    def trim(self, start: int, end: int) -> None:
        """Shrink to [`start`, `end`)."""
        rest = self.piece(start, end)
        self.vm_start, self.vm_end, self.vm_pgoff = start, end, rest.vm_pgoff
        self.mapped, self._starts, self._ends = rest.mapped, rest._starts, rest._ends

    def move_to(self, start: int) -> None:
        """Begin at address `start` instead."""
        moved = self.piece(self.vm_start, self.vm_end, start - self.vm_start)
        self.vm_start, self.vm_end = moved.vm_start, moved.vm_end
        self.mapped, self._starts, self._ends = moved.mapped, moved._starts, moved._ends

    def forget(self, start: int, end: int) -> None:
        """Nothing is mapped in [`start`, `end`) any more."""
        before, after = self.piece(self.vm_start, start), self.piece(end, self.vm_end)
        self.mapped, self._starts, self._ends = [], [], []
        for run in (*before.mapped, *after.mapped):
            self.record(run.addr, run.pfn, run.nr_pages, run.kind, run.prot)
