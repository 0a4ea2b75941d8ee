"""mmap and munmap of contiguous memory, of any size."""

from __future__ import annotations

from collections.abc import Iterator

from bench.harness import Bench
from bench.report import Row

SIZES = {"64 KiB": 64 << 10, "64 MiB": 64 << 20, "1 GiB": 1 << 30}
MOST = 120_000  # ns, on a quiet machine


def measure(bench: Bench) -> Iterator[Row]:
    client = bench.client("map")
    what = [f"{size}:{bench.count(100)}" for size in SIZES.values()]
    result = bench.alternate({"ours": lambda: bench.mapdev(
        "Bench,size=1G", [client, "/dev/bench", 3, *what], memory="2G")})["ours"]  # fmt: skip
    least = result[f"both:{SIZES['64 KiB']}"]
    for name, size in SIZES.items():
        figures = result[f"both:{size}"]
        yield Row(f"mmap and munmap of {name}", "", figures, limit=MOST, why_not=result.why_not)
        if name != "64 KiB":
            yield Row(f"mmap and munmap of {name}", "of 64 KiB", figures, least, most=1.2,
                      why_not=result.why_not)  # fmt: skip
