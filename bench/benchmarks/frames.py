"""Pictures from a client to a driver: into mapped memory with an ioctl, or by write(2)."""

from __future__ import annotations

from collections.abc import Iterator

from bench.harness import Bench
from bench.report import Row

FRAME = 1920 * 1080 * 4


def measure(bench: Bench) -> Iterator[Row]:
    client = bench.client("frames")
    command = [client, "/dev/bench", FRAME, 3, bench.count(20)]
    result = bench.alternate({"ours": lambda: bench.mapdev(f"Bench,size={FRAME}", command)})["ours"]
    yield Row("a 1080p frame by mmap and ioctl", "by write(2), to the same driver",
              result["mmap"], result["write"], why_not=result.why_not)  # fmt: skip
