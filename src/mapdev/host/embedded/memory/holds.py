"""`Holds` keeps frames that a client maps from being reused, even if their owner frees them.

A hold counts at the head of each allocation that it touches, not at each frame, so that one of a
long run is cheap; that keeps the whole allocation. It lives from `Holds.hold` to `Holds.release`,
which frees what was freed meanwhile. No lock: the caller holds the host's.
"""

import errno
from collections.abc import Iterable, Iterator, Sequence

from mapdev.host.embedded.memory import mem_map as mm
from mapdev.host.embedded.memory.frames import Frames, Hold

_COUNTED_AS_ONE = frozenset((mm.COMPOUND, mm.KMALLOC))


class Holds:
    """Counts all claims on the frames of a machine, in the frames' map."""

    __slots__ = ("_frames",)

    def __init__(self, frames: Frames) -> None:
        """Begin with none."""
        self._frames = frames

    def hold(self, runs: Sequence[tuple[int, int]], kind: str) -> Hold:
        """Claim allocated frames for a client's mapping; EINVAL when one is not allocated."""
        heads, parts = self._whole(runs) if self._are_whole(runs) else self._touched(runs)
        holds = self._frames.map.holds
        for head in heads:
            holds[head] += 1
        hold = Hold(runs, kind, heads, parts)
        if kind == "page":
            self._count_mappings(hold, 1)
        return hold

    def _are_whole(self, runs: Sequence[tuple[int, int]]) -> bool:
        """Say whether each run is one allocation, as nearly all of a vmalloc area are."""
        state = self._frames.map
        pfns, counts = zip(*runs, strict=True) if runs else ((), ())
        return (
            min(pfns, default=-1) >= 0
            and max(pfns) < self._frames.nr_frames
            and min(map(state.use.__getitem__, pfns)) >= mm.HELD
            and tuple(map(state.head.__getitem__, pfns)) == pfns
            and tuple(map(state.length.__getitem__, pfns)) == counts
        )

    def _whole(self, runs: Sequence[tuple[int, int]]) -> tuple[list[int], list[tuple[int, int]]]:
        """Return what `_touched` does, of runs that are whole."""
        use = self._frames.map.use
        return [pfn for pfn, _ in runs], [run for run in runs if use[run[0]] in _COUNTED_AS_ONE]

    def _touched(self, runs: Iterable[tuple[int, int]]) -> tuple[list[int], list[tuple[int, int]]]:
        """Return `Hold.heads` and `Hold.parts`."""
        state, most = self._frames.map, self._frames.nr_frames
        use, first, length = state.use, state.head, state.length
        heads: list[int] = []
        parts: list[tuple[int, int]] = []
        for pfn, nr_pages in runs:
            end = pfn + nr_pages
            if not 0 <= pfn < end <= most:
                self._frames.check(pfn)
                self._frames.check(end - 1)
                raise OSError(errno.EINVAL, f"hold: {nr_pages} pages")
            while pfn < end:
                if use[pfn] < mm.HELD:
                    raise OSError(errno.EINVAL, f"hold: pfn {pfn:#x} is not allocated")
                head = first[pfn]
                heads.append(head)
                stop = head + length[head]
                if use[pfn] in _COUNTED_AS_ONE:
                    parts.append((head, min(stop, end) - pfn))
                pfn = stop
        return heads, parts

    def release(self, hold: Hold) -> None:
        """Give up a claim; frees what was held back for it alone."""
        heads = hold.heads
        if heads is None:
            raise OSError(errno.EINVAL, "release: the hold has been released already")
        hold.heads = None
        state = self._frames.map
        if hold.kind == "page":
            self._count_mappings(hold, -1)
        unused: list[int] = []
        for head in heads:
            left = state.holds[head] - 1
            state.holds[head] = left
            if left == 0 and state.use[head] == mm.HELD:
                self._frames.nr_held -= state.length[head]
                unused.append(head)
        self._frames.give_back(unused)

    def _count_mappings(self, hold: Hold, step: int) -> None:
        state = self._frames.map
        mapcount = state.mapcount
        longer = []
        for run in hold.runs:
            if run[1] == 1:
                mapcount[run[0]] += step
            else:
                longer.append(run)
        for pfn, nr_pages in _joined(sorted(longer)):
            state.add_to_mapcounts(pfn, nr_pages, step)
        for head, pages in hold.parts:
            count = state.page_refs.get(head, 0) + step * pages
            if count:
                state.page_refs[head] = count
            else:
                del state.page_refs[head]


def _joined(runs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield sorted `runs`, those that follow one another as one: many are cheaper at once."""
    begin = end = 0
    for pfn, nr_pages in runs:
        if pfn != end:
            if begin < end:
                yield begin, end - begin
            begin = pfn
        end = pfn + nr_pages
    if begin < end:
        yield begin, end - begin
