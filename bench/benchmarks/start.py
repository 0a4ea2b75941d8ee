"""How long `mapdev run` takes before and after the command, and how much memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from bench.harness import DRIVERS, MAPDEV, Bench
from bench.report import Row

MEMORY = 50 * 1024  # KiB


def measure(bench: Bench) -> Iterator[Row]:
    count = bench.count(6)
    own = [*MAPDEV, "run", "-d", f"/dev/bench={DRIVERS}:Bench", "--", "true"]
    gallery = [*MAPDEV, "run", "-d", "/dev/bench=contiguous", "--", "true"]
    spawn = bench.client("spawn")
    results = bench.alternate({
        "own": lambda: bench.run([spawn, count, *own]),
        "gallery": lambda: bench.run([spawn, count, *gallery]),
        "python": lambda: bench.run([spawn, count, sys.executable, "-c", "pass"]),
    })  # fmt: skip
    python = results["python"]
    for name, what in (("gallery", "contiguous"), ("own", "drivers.py:Bench")):
        side = results[name]
        yield Row(f"mapdev run -d ...={what} -- true", "python3 -c pass", side["run"],
                  python["run"], most=3, why_not=side.why_not)  # fmt: skip
    yield Row("memory of mapdev run", "python3 -c pass", results["gallery"]["rss"], python["rss"],
              limit=MEMORY, unit="KiB", why_not=results["gallery"].why_not)  # fmt: skip
