"""Holds: frames that a client maps are kept from use, whatever their owner does.

A hold counts at the head of each allocation that it touches, not at each frame, so that one of a
long run is cheap; that keeps the whole allocation. It lives from `Holds.hold` to `Holds.release`,
which frees what was freed meanwhile. No lock: the caller holds the host's.
"""

import errno
from collections.abc import Iterable, Sequence

from mapdev.host.embedded.memory import mem_map as mm
from mapdev.host.embedded.memory.frames import Frames, Hold


class Holds:
    """All claims on the frames of a machine; the counts are in the frames' map."""

    __slots__ = ("_frames",)

    def __init__(self, frames: Frames) -> None:
        """Begin with none."""
        self._frames = frames

    def hold(self, runs: Sequence[tuple[int, int]], kind: str) -> Hold:
        """Claim allocated frames for a client's mapping; EINVAL when one is not allocated."""
        state = self._frames.map
        heads: list[int] = []
        for pfn, nr_pages in runs:
            end = pfn + nr_pages
            self._frames.check(pfn)
            self._frames.check(end - 1)
            if nr_pages < 1:
                raise OSError(errno.EINVAL, f"hold: {nr_pages} pages")
            while pfn < end:
                if state.use[pfn] < mm.HELD:
                    raise OSError(errno.EINVAL, f"hold: pfn {pfn:#x} is not allocated")
                head = state.head[pfn]
                heads.append(head)
                pfn = head + state.length[head]
        for head in heads:
            state.holds[head] += 1
        if kind == "page":
            self._count_mappings(runs, 1)
        return Hold(tuple(runs), kind, heads)

    def release(self, hold: Hold) -> None:
        """Give up a claim; frees what was held back for it alone."""
        heads = hold.heads
        if heads is None:
            raise OSError(errno.EINVAL, "release: the hold has been released already")
        hold.heads = None
        state = self._frames.map
        if hold.kind == "page":
            self._count_mappings(hold.runs, -1)
        unused: list[int] = []
        for head in heads:
            left = state.holds[head] - 1
            state.holds[head] = left
            if left == 0 and state.use[head] == mm.HELD:
                self._frames.nr_held -= state.length[head]
                unused.append(head)
        self._frames.give_back(unused)

    def _count_mappings(self, runs: Iterable[tuple[int, int]], step: int) -> None:
        state = self._frames.map
        mapcount = state.mapcount
        for pfn, nr_pages in runs:
            end = pfn + nr_pages
            for each in range(pfn, end):
                mapcount[each] += step
            while pfn < end:
                head = state.head[pfn]
                stop = min(end, head + state.length[head])
                if state.length[head] > 1:
                    references = state.page_refs.pop(head, 0) + step * (stop - pfn)
                    if references:
                        state.page_refs[head] = references
                pfn = stop
