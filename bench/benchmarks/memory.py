"""Mapped memory of a device against a plain memfd, in one client and in turn."""

from __future__ import annotations

from collections.abc import Iterator

from bench.harness import Bench
from bench.report import Row

SIZES = {"64 KiB": 64 << 10, "1 MiB": 1 << 20, "16 MiB": 16 << 20, "256 MiB": 256 << 20}


def measure(bench: Bench) -> Iterator[Row]:
    client = bench.client("memory")
    for name, size in SIZES.items():
        batches = bench.count(24 if size < 256 << 20 else 8)
        result = bench.alternate({"ours": lambda size=size, batches=batches: bench.mapdev(
            f"Bench,size={size}", [client, "/dev/bench", size, batches], pinned=True)},
            rounds=2 if bench.quick else 3)["ours"]  # fmt: skip
        for what in ("copy", "touch"):
            yield Row(f"{what} {'through' if what == 'copy' else 'of'} {name}",
                      "plain shared memory", result[f"{what}-device"], result[f"{what}-plain"],
                      least=0.97, most=1.03, why_not=result.why_not)  # fmt: skip
