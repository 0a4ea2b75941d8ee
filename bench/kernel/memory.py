"""Memory mapped through the module against a plain memfd, in one client and in turn."""

from __future__ import annotations

from collections.abc import Iterator

from bench.harness import Bench
from bench.kernel.daemons import mapdev
from bench.report import Row

SIZES = {"64 KiB": 64 << 10, "4 MiB": 4 << 20}


def measure(bench: Bench) -> Iterator[Row]:
    client = [bench.client("memory")]
    for name, size in SIZES.items():
        with mapdev(bench, f"Bench,size={size}") as device:
            run = device.side(bench, client, [size, 4], pinned=True)
            result = bench.alternate({"all": run})["all"]
        for kind, what in (("copy", "copy through"), ("touch", "touch of")):
            yield Row(f"{what} {name}", "plain shared memory", result[f"{kind}-device"],
                      result[f"{kind}-plain"], least=0.95, most=1.05,
                      why_not=result.why_not)  # fmt: skip
