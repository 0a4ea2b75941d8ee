"""The frame allocator against a model that is a dictionary of intervals."""

from __future__ import annotations

import errno

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
)

from mapdev.host.embedded.memory import Hold, PhysicalMemory
from mapdev.linux import MAX_ORDER, PAGE_SHIFT
from mapdev.linux.vma import Kind

FRAMES = 3000  # less than three of the largest blocks, and no multiple of anything
orders = st.one_of(st.integers(0, 3), st.integers(0, MAX_ORDER))


class FrameAllocator(RuleBasedStateMachine):
    """Allocates, frees and holds; ``used`` and ``held`` are what should be so."""

    pages: Bundle[tuple[int, int]] = Bundle("pages")  # first frame and length
    freed: Bundle[tuple[int, int]] = Bundle("freed")
    holds: Bundle[tuple[Hold, list[int]]] = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.memory = PhysicalMemory(FRAMES << PAGE_SHIFT)
        self.used: dict[int, int] = {}  # first frame -> length
        self.block_at: dict[int, bool] = {}  # first frame -> allocated by alloc_pages
        self.held: dict[int, int] = {}  # freed, first frame -> length
        self.claims: dict[int, int] = {}  # first frame -> number of holds

    def taken(self) -> int:
        return sum(self.used.values()) + sum(self.held.values())

    def add(self, pfn: int, nr_pages: int, block: bool) -> None:
        assert pfn >= 1
        assert pfn + nr_pages <= FRAMES
        for start, length in (*self.used.items(), *self.held.items()):
            assert pfn + nr_pages <= start or start + length <= pfn, "given out twice"
        self.used[pfn] = nr_pages
        self.block_at[pfn] = block

    def free(self, pfn: int, nr_pages: int) -> None:
        if self.block_at[pfn]:
            self.memory.free_pages(pfn, nr_pages.bit_length() - 1)
        else:
            self.memory.free_contig(pfn, nr_pages)

    def refused(self, pfn: int, nr_pages: int) -> None:
        with pytest.raises(OSError) as caught:
            self.free(pfn, nr_pages)
        assert caught.value.errno == errno.EINVAL

    @rule(target=pages, order=orders)
    def alloc_block(self, order: int) -> tuple[int, int] | MultipleResults[tuple[int, int]]:
        try:
            pfn = self.memory.alloc_pages(order, 0, None)
        except OSError as error:
            assert error.errno == errno.ENOMEM
            assert order > 0 or self.taken() == FRAMES - 1
            return multiple()
        assert pfn % (1 << order) == 0
        self.add(pfn, 1 << order, block=True)
        return pfn, 1 << order

    @rule(target=pages, nr_pages=st.integers(1, 1500))
    def alloc_run(self, nr_pages: int) -> tuple[int, int] | MultipleResults[tuple[int, int]]:
        try:
            pfn = self.memory.alloc_contig(nr_pages, 0, None)
        except OSError as error:
            assert error.errno == errno.ENOMEM
            assert nr_pages > 1 or self.taken() == FRAMES - 1
            return multiple()
        self.add(pfn, nr_pages, block=False)
        return pfn, nr_pages

    @rule(target=freed, block=consumes(pages))
    def free_right(self, block: tuple[int, int]) -> tuple[int, int]:
        pfn, nr_pages = block
        self.free(pfn, nr_pages)
        del self.used[pfn]
        if self.claims.get(pfn):
            self.held[pfn] = nr_pages
        return block

    @rule(block=pages, order=orders)
    def free_with_wrong_length(self, block: tuple[int, int], order: int) -> None:
        pfn, nr_pages = block
        if nr_pages != 1 << order:
            self.refused(pfn, 1 << order)

    @rule(block=pages, data=st.data())
    def free_inside(self, block: tuple[int, int], data: st.DataObject) -> None:
        pfn, nr_pages = block
        if nr_pages > 1:
            inside = pfn + data.draw(st.integers(1, nr_pages - 1))
            with pytest.raises(OSError, match=r"inside the allocation|is freed by"):
                self.memory.free_pages(inside, 0)

    @rule(block=freed)
    def free_twice(self, block: tuple[int, int]) -> None:
        pfn, nr_pages = block
        if not any(start <= pfn < start + length for start, length in self.used.items()):
            self.refused(pfn, nr_pages)

    @precondition(lambda self: self.used)
    @rule(target=holds, data=st.data())
    def hold(self, data: st.DataObject) -> tuple[Hold, list[int]]:
        starts = data.draw(st.lists(st.sampled_from(sorted(self.used)), min_size=1, max_size=4))
        runs = []
        for start in starts:
            length = self.used[start]
            first = data.draw(st.integers(0, length - 1))
            runs.append((start + first, data.draw(st.integers(1, length - first))))
            self.claims[start] = self.claims.get(start, 0) + 1
        kind: Kind = data.draw(st.sampled_from(["pfn", "page"]))
        return self.memory.hold(runs, kind), starts

    @rule(held=consumes(holds))
    def release(self, held: tuple[Hold, list[int]]) -> None:
        hold, starts = held
        self.memory.release(hold)
        for start in starts:
            self.claims[start] -= 1
            if not self.claims[start]:
                self.held.pop(start, None)

    @invariant()
    def counts_are_right(self) -> None:
        counts = self.memory.counts()
        used, held = sum(self.used.values()), sum(self.held.values())
        assert counts == (FRAMES - 1, FRAMES - 1 - used - held, used, held)

    @invariant()
    def free_blocks_are_merged(self) -> None:
        for order, blocks in enumerate(self.memory._frames.buddy.free_blocks[:MAX_ORDER]):
            assert not [pfn for pfn in blocks if pfn ^ (1 << order) in blocks]

    def teardown(self) -> None:
        untouched = [{1}, {2}, {4}, {8}, {16}, {32}, {64}, {128}, {256}, {512}, {1024}]
        # 2048 to 2999 as blocks
        for order, pfn in ((9, 2048), (8, 2560), (7, 2816), (5, 2944), (4, 2976), (3, 2992)):
            untouched[order].add(pfn)
        for pfn, nr_pages in list(self.used.items()):
            self.free(pfn, nr_pages)
        self.memory._frames.singles.drain()
        if not any(self.claims.values()):
            found = [set(blocks) for blocks in self.memory._frames.buddy.free_blocks]
            assert found == untouched, "not merged back"
        self.memory.close()


TestFrameAllocator = FrameAllocator.TestCase
TestFrameAllocator.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
