"""An ioctl while other clients wait inside theirs, or have many files open."""

from __future__ import annotations

from collections.abc import Iterator

from bench.harness import Bench
from bench.report import Row

CROWDS = {
    "waiting:1": "1 client waits",
    "waiting:10": "10 clients wait",
    "waiting:100": "100 clients wait",
    "open:1000": "1,000 files are open",
}


def measure(bench: Bench) -> Iterator[Row]:
    client = bench.client("crowd")
    for pinned in (True, False):
        result = bench.alternate({"ours": lambda pinned=pinned: bench.mapdev(
            "Bench", [client, "/dev/bench", 3, bench.count(1000)], pinned)})["ours"]  # fmt: skip
        for name, what in CROWDS.items():
            alone = result[f"alone:{name.split(':')[1]}"]
            yield Row(f"ioctl while {what}, {'pinned' if pinned else 'not pinned'}",
                      "one client, one file", result[name], alone, most=1.2,
                      why_not=result.why_not)  # fmt: skip
