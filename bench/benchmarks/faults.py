"""Pages that come when they are touched, against a userfaultfd handler in C (UFFDIO_COPY)."""

from __future__ import annotations

from collections.abc import Iterator

from bench.harness import Bench
from bench.report import Row

KINDS = {"no": ("a fault", 8), "yes": ("a page, 16 at a time by map_pages", 1)}


def measure(bench: Bench) -> Iterator[Row]:
    client = bench.client("fault")
    pages = bench.count(1000)
    for pinned in (True, False):
        sides = {
            around: lambda around=around, pinned=pinned: bench.mapdev(
                f"Faulting,around={around}", [client, "/dev/bench", pages, 3], pinned)
            for around in KINDS
        }  # fmt: skip
        sides["C"] = lambda pinned=pinned: bench.run([bench.peer("userfault"), pages, 3], pinned)
        results = bench.alternate(sides)
        for around, (what, most) in KINDS.items():
            ours, theirs = results[around], results["C"]
            yield Row(f"{what}, {'pinned' if pinned else 'not pinned'}", "UFFDIO_COPY in C",
                      ours["fault"], theirs["fault"], most=most,
                      why_not=ours.why_not or theirs.why_not)  # fmt: skip
