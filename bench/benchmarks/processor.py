"""Processor time of programs that use no device, with and without the C extension; ours included.

What a machine does besides changes the time that a program takes much more than the processor time
that is spent for it. On one core, the two are the same.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence

from bench.harness import MAPDEV, Bench, Missing, Samples
from bench.report import Row
from mapdev.host.embedded.native import NATIVE, WHY_NOT

COMMANDS = {
    "python3 -c 'import json'": [sys.executable, "-c", "import json"],
    "find /usr/share": ["find", "/usr/share"],
}
RUN = [*MAPDEV, "run", "-d", "/dev/bench=contiguous", "--"]


def measure(bench: Bench) -> Iterator[Row]:
    for what, command in COMMANDS.items():
        results = bench.alternate({
            "bare": lambda command=command: {"spent": [_spent(command)]},
            "native": lambda command=command: _spent_by_mapdev(command, "0"),
            "pure": lambda command=command: _spent_by_mapdev(command, "1"),
        }, rounds=3 if bench.quick else 9)  # fmt: skip
        bare, native, pure = results["bare"], results["native"], results["pure"]
        row = f"{what}, processor time"
        yield Row(row, "without mapdev", native["spent"], bare["spent"], why_not=native.why_not)
        yield Row(f"{row}, MAPDEV_PURE=1", "without mapdev", pure["spent"], bare["spent"])


def _spent_by_mapdev(command: Sequence[str], pure: str) -> Samples:
    """Run a command by mapdev; what its start and end cost is not counted."""
    if pure == "0" and NATIVE is None:
        raise Missing(f"the C extension is not in use: {WHY_NOT}")
    start = _spent([*RUN, "true"], MAPDEV_PURE=pure)
    return {"spent": [_spent([*RUN, *command], MAPDEV_PURE=pure) - start]}


def _spent(command: Sequence[str], **environment: str) -> float:
    """Return the processor time of a command and all that it waited for, in nanoseconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=300,
        env=os.environ | environment,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e9
