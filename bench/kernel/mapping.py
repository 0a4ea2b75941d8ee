"""mmap and munmap, against a driver in C that does the same."""

from __future__ import annotations

from collections.abc import Iterator

from bench.harness import Bench
from bench.kernel import reference
from bench.kernel.daemons import mapdev
from bench.report import Row

CONTIGUOUS = {"64 KiB": 64 << 10, "4 MiB": 4 << 20}
SCATTERED = {"64 MiB": 64 << 20, "256 MiB": 256 << 20}
MOST = 1.1  # for large ones


def measure(bench: Bench) -> Iterator[Row]:
    with reference.loaded(max(CONTIGUOUS.values())):
        yield from _measure(bench, "Bench", reference.PFN, CONTIGUOUS, "remap_pfn_range")
    with reference.loaded(max(SCATTERED.values())):
        yield from _measure(bench, "Scattered", reference.VMALLOC, SCATTERED, "remap_vmalloc_range")


def _measure(
    bench: Bench, driver: str, theirs: str, sizes: dict[str, int], how: str
) -> Iterator[Row]:
    client = bench.client("map")
    what = [f"{size}:{bench.count(20 if size > 32 << 20 else 100)}" for size in sizes.values()]
    with mapdev(bench, f"{driver},size={max(sizes.values())}") as device:
        results = bench.alternate({
            "ours": device.side(bench, [client], [3, *what], pinned=True),
            "theirs": lambda: bench.run([client, theirs, 3, *what], pinned=True),
        })  # fmt: skip
    us, them = results["ours"], results["theirs"]
    for name, size in sizes.items():
        yield Row(f"mmap and munmap of {name}, {how}", "a driver in C", us[f"both:{size}"],
                  them[f"both:{size}"], most=MOST if size > 32 << 20 else None,
                  why_not=us.why_not or them.why_not)  # fmt: skip
