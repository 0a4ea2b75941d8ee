"""Mapped memory of a device against a plain memfd, in one client and in turn.

Each round has new memory. The third kind is a plain memfd as well: its ratio says what of the first
one's is chance.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.harness import Bench
from bench.report import Row

SIZES = {"64 KiB": 64 << 10, "1 MiB": 1 << 20, "16 MiB": 16 << 20, "256 MiB": 256 << 20}


def measure(bench: Bench) -> Iterator[Row]:
    client = bench.client("memory")
    for name, size in SIZES.items():
        batches, rounds = (4, 5) if size == 256 << 20 else (6, 9)

        def run(size: int = size, batches: int = batches) -> dict[str, list[float]]:
            command = [client, "/dev/bench", size, batches]
            return bench.mapdev(f"Bench,size={size}", command, pinned=True)

        result = bench.alternate({"all": run}, 2 if bench.quick else rounds)["all"]
        for kind, what in (("copy", "copy through"), ("touch", "touch of")):
            plain = result[f"{kind}-plain"]
            yield Row(f"{what} {name}", "plain shared memory", result[f"{kind}-device"], plain,
                      least=0.97, most=1.03, why_not=result.why_not)  # fmt: skip
            yield Row(f"{what} {name}: plain shared memory instead", "plain shared memory",
                      result[f"{kind}-again"], plain, why_not=result.why_not)  # fmt: skip
