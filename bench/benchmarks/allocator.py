"""The allocator, inside the host: pages, blocks and vmalloc, on machines of two sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import mapdev
from bench.harness import Bench, Samples
from bench.report import Row
from mapdev.linux import GFP_KERNEL, alloc_pages, free_pages, vfree, vmalloc

SMALL, LARGE = "2G", "64G"
GIB_PAGES = 1 << 18


def measure(bench: Bench) -> Iterator[Row]:
    results = bench.alternate({
        size: lambda size=size: _measure(bench, size) for size in (SMALL, LARGE)
    }, rounds=2 if bench.quick else 9)  # fmt: skip
    small, large = results[SMALL], results[LARGE]
    names = {
        "order 0": "alloc_pages and free_pages of a page, for each page",
        "order 9": "alloc_pages and free_pages of 512 pages, for each page",
        "vmalloc": "vmalloc and vfree of 1 GiB, for each page",
    }
    for name, what in names.items():
        yield Row(f"{what}, of {LARGE}", f"of {SMALL}", large[name], small[name], most=1.2,
                  why_not=small.why_not or large.why_not)  # fmt: skip


def _measure(bench: Bench, memory: str) -> Samples:
    with mapdev.host(memory=memory):
        return {
            "order 0": [_pages(0, bench.count(4000)) for _ in range(3)],
            "order 9": [_pages(9, 400) for _ in range(3)],
            "vmalloc": [_per_page(lambda: vfree(vmalloc(1 << 30)), GIB_PAGES) for _ in range(2)],
        }


def _pages(order: int, count: int) -> float:
    def run() -> None:
        pages = [alloc_pages(GFP_KERNEL, order) for _ in range(count)]
        for page in pages:
            free_pages(page, order)

    return _per_page(run, count << order)


def _per_page(run: Callable[[], None], pages: int) -> float:
    start = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - start) / pages
