"""Reading and writing 1 MiB at a time, against FUSE in C with requests of that size."""

from __future__ import annotations

from collections.abc import Iterator

from bench.benchmarks.calls import commands, file_system_side
from bench.daemons import mounted
from bench.harness import Bench, Missing
from bench.report import Row


def measure(bench: Bench) -> Iterator[Row]:
    client = bench.client("call")
    arguments = ["3", *(f"{name}:{1 << 20}:{bench.count(200)}" for name in ("read", "write"))]
    try:
        with mounted(bench, "fuse-1m", commands(bench)["FUSE in C"]()) as system:
            for pinned in (True, False):
                results = bench.alternate({
                    "ours": lambda pinned=pinned: bench.mapdev(
                        "Bench,size=1M", [client, "/dev/bench", *arguments], pinned),
                    "theirs": file_system_side(bench, system, [client], arguments, pinned),
                })  # fmt: skip
                ours, theirs = results["ours"], results["theirs"]
                for name in ("read", "write"):
                    where = "pinned" if pinned else "not pinned"
                    yield Row(f"{name} of 1 MiB, {where}", "FUSE in C", ours[name], theirs[name],
                              most=1.0, why_not=ours.why_not or theirs.why_not)  # fmt: skip
    except Missing as missing:
        yield Row("read and write of 1 MiB", "FUSE in C", most=1.0, why_not=str(missing))
