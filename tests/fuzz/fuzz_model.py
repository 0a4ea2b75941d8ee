"""A plain model of one process and one device: what memory, areas and descriptors must be."""

from __future__ import annotations

from dataclasses import dataclass, replace

P = 4096
READ, WRITE = 1, 2


@dataclass(frozen=True)
class Area:
    """An area of the device, in bytes; `prot` of PROT_* bits."""

    start: int
    end: int
    offset: int
    prot: int

    def piece(self, start: int, end: int) -> Area:
        return replace(self, start=start, end=end, offset=self.offset + start - self.start)

    @property
    def line(self) -> tuple[int, int, str, int]:
        """What /proc/self/maps says of it."""
        perms = ("r" if self.prot & READ else "-") + ("w" if self.prot & WRITE else "-") + "-s"
        return self.start, self.end, perms, self.offset


class Areas:
    """All areas of the device, in order; none crosses another, none is ever joined."""

    def __init__(self) -> None:
        self.all: list[Area] = []

    def find(self, addr: int) -> Area | None:
        return next((area for area in self.all if area.start <= addr < area.end), None)

    def add(self, *areas: Area) -> None:
        self.all = sorted((*self.all, *areas), key=lambda area: area.start)

    def take(self, start: int, end: int) -> list[Area]:
        """Take out and return what there is in [`start`, `end`)."""
        taken: list[Area] = []
        left: list[Area] = []
        for area in self.all:
            low, high = max(area.start, start), min(area.end, end)
            if low >= high:
                left.append(area)
                continue
            taken.append(area.piece(low, high))
            if area.start < low:
                left.append(area.piece(area.start, low))
            if high < area.end:
                left.append(area.piece(high, area.end))
        self.all = left
        self.add()
        return taken

    def protect(self, start: int, end: int, prot: int) -> None:
        for area in list(self.all):
            low, high = max(area.start, start), min(area.end, end)
            if low < high and area.prot != prot:
                self.add(*(replace(part, prot=prot) for part in self.take(low, high)))
