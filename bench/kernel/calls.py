"""Calls that Python answers through the module, against CUSE in C; all on one core."""

from __future__ import annotations

from collections.abc import Iterator

from bench.benchmarks.calls import OPERATIONS
from bench.harness import Bench
from bench.kernel.daemons import cuse, mapdev
from bench.report import Row

SMALL, LARGE = 4096, 1 << 20
MOST = {"small": 1.5, "large": 1.0}


def measure(bench: Bench) -> Iterator[Row]:
    client = [bench.client("call")]
    what = {f"{name}:{SMALL if name in ('read', 'write') else 0}:{bench.count(400)}": text
            for name, text in OPERATIONS.items()}  # fmt: skip
    rows = _compare(bench, client, what, MOST["small"])
    large = {f"{name}:{LARGE}:{bench.count(40)}": f"{name} of 1 MiB" for name in ("read", "write")}
    yield from rows
    yield from _compare(bench, client, large, MOST["large"])


def _compare(bench: Bench, client: list[str], what: dict[str, str], most: float) -> list[Row]:
    arguments = ["3", *what]
    with mapdev(bench, "Bench,size=1M") as ours, cuse(bench) as theirs:
        results = bench.alternate({
            "ours": ours.side(bench, client, arguments, pinned=True),
            "theirs": theirs.side(bench, client, arguments, pinned=True),
        })  # fmt: skip
    us, them = results["ours"], results["theirs"]
    return [
        Row(f"{text}, pinned", "CUSE in C", us[name], them[name], most=most,
            why_not=us.why_not or them.why_not)
        for name, text in ((spec.partition(":")[0], text) for spec, text in what.items())
    ]  # fmt: skip
