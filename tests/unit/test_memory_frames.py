"""Frames: counting, holds, owners, and the order in which single frames go out."""

from __future__ import annotations

import errno
from collections.abc import Callable
from itertools import pairwise

import pytest

from mapdev.host.embedded.memory import Counts, PhysicalMemory
from mapdev.host.embedded.memory.buddy import MAX_BLOCK, Buddy
from mapdev.host.embedded.memory.pcp import SingleFrames, scatter
from mapdev.linux import GFP_COMP, PAGE_SHIFT, PAGE_SIZE
from mapdev.linux.page import PG_held

MIB = 1 << 20


def fails(error: int, function: Callable[[], object], match: str) -> None:
    with pytest.raises(OSError, match=match) as caught:
        function()
    assert caught.value.errno == error


def neighbours(pfns: list[int]) -> int:
    return sum(abs(one - other) == 1 for one, other in pairwise(pfns))


# Buddy and single frames


def test_buddy_splits_and_merges() -> None:
    buddy = Buddy(0, 2 * MAX_BLOCK)
    assert buddy.alloc(0) == 0
    assert [len(blocks) for blocks in buddy.free_blocks] == [1] * 10 + [1]
    buddy.free(0, 0)
    assert [len(blocks) for blocks in buddy.free_blocks] == [0] * 10 + [2]


def test_buddy_of_any_size() -> None:
    buddy = Buddy(1, 1500)
    assert buddy.nr_free == 1499
    taken = [buddy.alloc(0) for _ in range(1500)]
    assert sorted(taken[:-1]) == list(range(1, 1500))
    assert taken[-1] == -1


@pytest.mark.parametrize("nr_pages", [1, 3, 1000, MAX_BLOCK, MAX_BLOCK + 1, 3 * MAX_BLOCK])
def test_buddy_range_takes_no_more_than_asked(nr_pages: int) -> None:
    buddy = Buddy(0, 4 * MAX_BLOCK)
    pfn = buddy.alloc_range(nr_pages)
    assert buddy.nr_free == 4 * MAX_BLOCK - nr_pages
    buddy.free_range(pfn, nr_pages)
    assert len(buddy.free_blocks[-1]) == 4


def test_buddy_range_wants_blocks_in_a_row() -> None:
    buddy = Buddy(0, 4 * MAX_BLOCK)
    blocks = sorted(buddy.alloc(10) for _ in range(4))
    buddy.free(blocks[0], 10)
    buddy.free(blocks[2], 10)
    assert buddy.alloc_range(MAX_BLOCK + 1) == -1
    buddy.free(blocks[3], 10)
    assert buddy.alloc_range(MAX_BLOCK + 1) == blocks[2]


@pytest.mark.parametrize("count", range(40))
def test_scatter_parts_neighbours(count: int) -> None:
    items = list(range(100, 100 + count))
    scattered = scatter(items)
    assert sorted(scattered) == items
    assert count < 4 or neighbours(scattered) == 0


def test_single_frames_are_no_neighbours_in_a_row() -> None:
    frames = SingleFrames(Buddy(1, 4 * MAX_BLOCK))
    taken = [frames.alloc() for _ in range(4000)]
    assert len(set(taken)) == 4000
    assert neighbours(taken) == 0
    for pfn in sorted(taken)[:100]:  # freed in a row, out in another order
        frames.free(pfn)
    assert neighbours([frames.alloc() for _ in range(100)]) == 0


def test_single_frames_reach_the_last_one() -> None:
    frames = SingleFrames(Buddy(1, 200))
    assert sorted(frames.alloc() for _ in range(199)) == list(range(1, 200))
    assert frames.alloc() == -1


# Counting and exhaustion


def test_new_machine_is_free(memory: PhysicalMemory) -> None:
    total = (64 * MIB >> PAGE_SHIFT) - 1  # without frame 0
    assert memory.counts() == Counts(total, total, 0, 0)


def test_size() -> None:
    small = PhysicalMemory(PAGE_SIZE + 1)
    assert (small.nr_frames, small.counts().total) == (2, 1)
    small.close()
    small.close()
    with pytest.raises(ValueError, match="too little memory"):
        PhysicalMemory(PAGE_SIZE)


def test_single_frames_in_stock_are_there_for_larger_blocks() -> None:
    memory = PhysicalMemory(4 * MIB)
    pages = [memory.alloc_pages(0, 0, None) for _ in range(memory.counts().total)]
    fails(errno.ENOMEM, lambda: memory.alloc_pages(0, 0, None), "order 0 wanted, 0 frames")
    for pfn in pages:
        memory.free_pages(pfn, 0)
    order = (memory.nr_frames >> 1).bit_length() - 1  # frame 0 is missing from the first half
    half = memory.alloc_pages(order, 0, None)
    assert half == memory.nr_frames >> 1
    memory.free_pages(half, order)
    assert memory.counts().used == 0
    memory.close()


def test_vmalloc_takes_every_last_frame() -> None:
    memory = PhysicalMemory(4 * MIB)
    total = memory.counts().total
    addr = memory.vmalloc(total << PAGE_SHIFT, 0, None)
    assert memory.counts() == Counts(total, 0, total, 0)
    fails(errno.ENOMEM, lambda: memory.vmalloc(1, 0, None), "1 frames wanted, 0 frames are free")
    memory.vfree(addr)
    assert memory.counts() == Counts(total, total, 0, 0)
    memory.close()


# Holds


def test_held_frames_are_kept_from_use(memory: PhysicalMemory) -> None:
    pfn = memory.alloc_pages(3, 0, None)
    hold = memory.hold([(pfn + 2, 1)])
    memory.free_pages(pfn, 3)
    assert memory.counts()[2:] == (0, 8)
    assert memory.frame(pfn + 5).flags == 1 << PG_held
    assert memory.frame(pfn + 5).nr_pages == 0
    fails(errno.EINVAL, lambda: memory.free_pages(pfn, 3), "double free")
    fails(errno.EFAULT, lambda: memory.memory(memory.page_address(pfn), 1), "is allocated")
    taken = [memory.alloc_pages(0, 0, None) for _ in range(memory.counts().free)]
    assert not set(taken) & set(range(pfn, pfn + 8))
    memory.release(hold)
    assert memory.counts().held == 0
    assert memory.counts().free == 8


def test_held_frames_keep_their_data_and_lose_it_then(memory: PhysicalMemory) -> None:
    pfn = memory.alloc_contig(20, 0, None)
    view = memory.memory(memory.page_address(pfn), 20 * PAGE_SIZE)
    view[5 * PAGE_SIZE] = 9
    hold = memory.hold([(pfn, 20)])
    memory.free_contig(pfn, 20)
    assert view[5 * PAGE_SIZE] == 9
    memory.release(hold)
    assert view[5 * PAGE_SIZE] == 0


def test_each_hold_counts(memory: PhysicalMemory) -> None:
    pfn = memory.alloc_pages(0, 0, None)
    holds = [memory.hold([(pfn, 1)]) for _ in range(3)]
    memory.release(holds[0])
    memory.free_pages(pfn, 0)
    later = memory.hold([(pfn, 1)])  # a fork of a client that maps it
    for hold in (*holds[1:], later):
        assert memory.counts().held == 1
        memory.release(hold)
    assert memory.counts().held == 0
    fails(errno.EINVAL, lambda: memory.release(later), "released already")


def test_hold_released_before_the_free(memory: PhysicalMemory) -> None:
    pfn = memory.alloc_pages(0, 0, None)
    memory.release(memory.hold([(pfn, 1)]))
    assert memory.counts()[2:] == (1, 0)
    memory.free_pages(pfn, 0)
    assert memory.counts()[2:] == (0, 0)


def test_hold_wants_allocated_frames(memory: PhysicalMemory) -> None:
    pfn = memory.alloc_pages(0, 0, None)
    fails(errno.EINVAL, lambda: memory.hold([(pfn, 1), (0, 1)]), "not allocated")
    fails(errno.EINVAL, lambda: memory.hold([(pfn, 0)]), "0 pages")
    fails(errno.EINVAL, lambda: memory.hold([(memory.nr_frames - 1, 2)]), "not a frame")
    memory.free_pages(pfn, 0)
    assert memory.counts().held == 0  # the hold that failed left nothing behind


def test_vfree_holds_frame_by_frame(memory: PhysicalMemory) -> None:
    addr = memory.vmalloc(8 * PAGE_SIZE, 0, None)
    pfns = [memory.vmalloc_to_pfn(addr + page * PAGE_SIZE) for page in range(8)]
    hold = memory.hold([(pfns[2], 1), (pfns[5], 1)])
    memory.vfree(addr)
    assert memory.counts()[2:] == (0, 2)
    assert not memory._vmalloc.areas()
    memory.release(hold)


def test_page_mappings_are_references(memory: PhysicalMemory) -> None:
    pfn = memory.alloc_pages(0, 0, None)
    hold = memory.hold([(pfn, 1)], "page")
    frames = memory.hold([(pfn, 1)], "pfn")
    assert memory.frame(pfn)[1:3] == (2, 1)  # the other kind counts nowhere, as in the kernel
    memory.free_pages(pfn, 0)
    assert memory.frame(pfn)[1:3] == (1, 1)
    memory.release(hold)
    assert memory.frame(pfn)[1:3] == (0, 0)
    memory.release(frames)


def test_page_mappings_of_a_compound_block(memory: PhysicalMemory) -> None:
    pfn = memory.alloc_pages(2, GFP_COMP, None)
    hold = memory.hold([(pfn + 1, 2)], "page")
    assert [memory.frame(pfn + page).mapcount for page in range(4)] == [0, 1, 1, 0]
    assert {memory.frame(pfn + page).refcount for page in range(4)} == {3}
    memory.release(hold)
    assert memory.frame(pfn).refcount == 1


def test_hold_of_a_long_run_looks_at_allocations_only(memory: PhysicalMemory) -> None:
    pfn = memory.alloc_contig(10_000, 0, None)
    hold = memory.hold([(pfn, 10_000)])
    assert hold.heads == [pfn]
    memory.release(hold)


# Owners


def test_owned_by_and_reclaim(memory: PhysicalMemory) -> None:
    page = memory.alloc_pages(2, 0, "a")
    contig = memory.alloc_contig(5, 0, "a")
    small, large = memory.kmalloc(100, 0, "a"), memory.kmalloc(3 * PAGE_SIZE, 0, "a")
    area = memory.vmalloc(9, 0, "a")
    other = memory.alloc_pages(0, 0, "b")
    memory.get_page(page)
    assert sorted((kind, size) for kind, _, size, _ in memory.owned_by("a")) == [
        ("contiguous", 5 * PAGE_SIZE),
        ("kmalloc", 128),
        ("kmalloc", 4 * PAGE_SIZE),
        ("pages", 4 * PAGE_SIZE),
        ("vmalloc", PAGE_SIZE),
    ]
    addrs = {found.addr for found in memory.owned_by("a")}
    assert addrs == {small, large, area, memory.page_address(page), memory.page_address(contig)}
    assert len(memory.reclaim("a")) == 5
    assert memory.owned_by("a") == []
    assert [found.pfn for found in memory.owned_by("b")] == [other]
    assert memory.counts().used == 1
    assert memory.owned_by("nobody") == memory.reclaim("nobody") == []


def test_reclaim_of_pages_whose_area_is_gone(memory: PhysicalMemory) -> None:
    area, small = memory.vmalloc(PAGE_SIZE, 0, "a"), memory.kmalloc(8, 0, "a")
    for pfn in (memory.vmalloc_to_pfn(area), memory.virt_to_pfn(small)):
        memory.get_page(pfn)
    memory.vfree(area)
    memory.kfree(small)
    assert [found.kind for found in memory.owned_by("a")] == ["pages", "pages"]
    memory.reclaim("a")
    assert memory.counts().used == 0


def test_reclaimed_frames_are_held_too(memory: PhysicalMemory) -> None:
    area = memory.vmalloc(2 * PAGE_SIZE, 0, "a")
    hold = memory.hold([(memory.vmalloc_to_pfn(area), 1)])
    memory.reclaim("a")
    assert memory.counts()[2:] == (0, 1)
    memory.release(hold)
