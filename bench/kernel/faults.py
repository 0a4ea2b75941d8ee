"""Pages that come when they are touched, against the same driver in C."""

from __future__ import annotations

from collections.abc import Iterator

from bench.harness import Bench
from bench.kernel import reference
from bench.kernel.daemons import mapdev
from bench.report import Row

KINDS = {"no": "a fault", "yes": "a page, 16 at a time by map_pages"}


def measure(bench: Bench) -> Iterator[Row]:
    client = bench.client("fault")
    pages = bench.count(400)
    for around, what in KINDS.items():
        with reference.loaded(4 << 20), mapdev(bench, f"Faulting,around={around}") as device:
            results = bench.alternate({
                "ours": device.side(bench, [client], [pages, 3], pinned=True),
                "theirs": lambda: bench.run([client, reference.FAULT, pages, 3], pinned=True),
            })  # fmt: skip
        ours, theirs = results["ours"], results["theirs"]
        yield Row(f"{what}, pinned", "a driver in C", ours["fault"], theirs["fault"],
                  why_not=ours.why_not or theirs.why_not)  # fmt: skip
