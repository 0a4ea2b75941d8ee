"""What a call costs the host while many clients make calls of all kinds, and among many processes.

Processor time of the host, so that it does not matter how many processors there are for clients.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from bench.harness import Bench, Missing, Samples
from bench.report import Row

CLIENTS = (10, 100, 400)
CALLS = 40_000  # of all clients together
SLEEPERS, FILES = 5000, 20
MOST = 1.5


def measure(bench: Bench) -> Iterator[Row]:
    client = bench.client("load")

    def cost(device: str, clients: int) -> Samples:
        calls = max(90, bench.count(CALLS) // clients)
        return bench.mapdev(device, [client, "/dev/bench", clients, calls])

    def compare(device: str, what: str, clients: int, sleepers: int = 0) -> Row:
        def crowded() -> Samples:
            with _sleepers(bench, sleepers):
                return cost(device, clients)

        sides = bench.alternate({"crowd": crowded, "one": lambda: cost(device, 1)}, rounds=2)
        crowd, one = sides["crowd"], sides["one"]
        return Row(what, "1 client", crowd["host"], one["host"], most=MOST,
                   why_not=crowd.why_not or one.why_not)  # fmt: skip

    for device, how in (("Ready", ""), ("Ready,fuse=no", ", without FUSE")):
        for clients in CLIENTS:
            yield compare(device, f"a call of {clients} clients{how}", clients)
        what = f"a call of 10 clients among {SLEEPERS:,} other processes{how}"
        yield compare(device, what, 10, SLEEPERS)


@contextlib.contextmanager
def _sleepers(bench: Bench, number: int) -> Iterator[None]:
    """Have processes that are nobody's clients, with open files."""
    if not number:
        yield
        return
    process = subprocess.Popen(
        [bench.client("sleepers"), str(number), str(FILES)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        if process.stdout.readline() != b"ready\n":
            raise Missing(f"there can't be {number} more processes: see `ulimit -u`")
        yield
    finally:
        process.communicate()
