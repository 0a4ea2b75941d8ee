"""The vmalloc area against a model: areas don't overlap, have guards, and show their own frames."""

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
    rule,
)

from mapdev.host.embedded.memory import PhysicalMemory
from mapdev.linux import PAGE_SHIFT, PAGE_SIZE

FRAMES = 64
SPAN = 30  # pages of addresses: so few that gaps have to be used again


class VmallocArea(RuleBasedStateMachine):
    """Allocates, writes and frees areas; ``live`` is what should be there."""

    areas: Bundle[int] = Bundle("areas")

    def __init__(self) -> None:
        super().__init__()
        self.memory = PhysicalMemory(FRAMES << PAGE_SHIFT)
        space = self.memory._vmalloc
        space.end = space.start + SPAN * PAGE_SIZE
        self.live: dict[int, tuple[int, int]] = {}  # address -> pages, byte written in each
        self.serial = 0

    def widest_gap(self) -> int:
        """Pages of addresses in a row that no area, nor its guard page, takes."""
        space = self.memory._vmalloc
        ends = [space.start + PAGE_SIZE]
        ends += [addr + (pages + 1) * PAGE_SIZE for addr, (pages, _) in sorted(self.live.items())]
        return max(
            (start - end) // PAGE_SIZE
            for end, start in zip(ends, [*sorted(self.live), space.end], strict=True)
        )

    @rule(target=areas, size=st.integers(1, 5 * PAGE_SIZE))
    def allocate(self, size: int) -> int | MultipleResults[int]:
        nr_pages = -(-size // PAGE_SIZE)
        used = sum(pages for pages, _ in self.live.values())
        try:
            addr = self.memory.vmalloc(size, 0, None)
        except OSError as error:
            assert error.errno == errno.ENOMEM
            assert used + nr_pages > FRAMES - 1 or self.widest_gap() < nr_pages + 1
            return multiple()
        assert addr % PAGE_SIZE == 0
        assert self.memory.vmalloc_size(addr) == nr_pages * PAGE_SIZE
        end = addr + (nr_pages + 1) * PAGE_SIZE  # with its guard page
        for start, (pages, _) in self.live.items():
            assert end <= start or start + (pages + 1) * PAGE_SIZE <= addr
        assert not any(self.memory.memory(addr, nr_pages * PAGE_SIZE))
        self.serial = self.serial % 255 + 1
        self.memory.memory(addr, size)[:] = bytes((self.serial,)) * size
        self.memory.memory(addr, nr_pages * PAGE_SIZE)[::PAGE_SIZE] = (
            bytes((self.serial,)) * nr_pages
        )
        self.live[addr] = (nr_pages, self.serial)
        return addr

    @rule(addr=consumes(areas))
    def free(self, addr: int) -> None:
        self.memory.vfree(addr)
        del self.live[addr]
        with pytest.raises(OSError, match="no vmalloc area starts"):
            self.memory.vfree(addr)
        with pytest.raises(OSError, match="in no vmalloc area"):
            self.memory.vmalloc_to_pfn(addr)

    @rule(addr=areas)
    def look_past_the_end(self, addr: int) -> None:
        end = addr + self.live[addr][0] * PAGE_SIZE
        with pytest.raises(OSError, match="not all of"):
            self.memory.memory(end - 1, 2)
        with pytest.raises(OSError, match="in no vmalloc area"):
            self.memory.vmalloc_to_pfn(end)

    @invariant()
    def each_area_shows_its_own_frames(self) -> None:
        seen: set[int] = set()
        for addr, (nr_pages, byte) in self.live.items():
            pfns = [self.memory.vmalloc_to_pfn(addr + page * PAGE_SIZE) for page in range(nr_pages)]
            assert not seen & set(pfns)
            seen |= set(pfns)
            assert {self.memory.memory(self.memory.page_address(pfn), 1)[0] for pfn in pfns} == {
                byte
            }
        assert self.memory.counts().used == len(seen)

    def teardown(self) -> None:
        for addr in self.live:
            self.memory.vfree(addr)
        assert self.memory.counts().used == 0
        self.memory.close()


TestVmallocArea = VmallocArea.TestCase
TestVmallocArea.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
