"""Calls that a driver in Python answers, against drivers in other ways.

"Pinned": client and whoever answers share one core. Not pinned, the scheduler decides; on a quiet
machine it mostly keeps the two on one core too, so FUSE is also measured with a core for each.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack

from bench.daemons import Daemon, mounted
from bench.harness import HERE, Bench, Missing, Samples, Side
from bench.report import Row

OPERATIONS = {
    "ping": "ioctl with a number",
    "exchange": "ioctl with a structure, both ways",
    "read": "read of 4 KiB",
    "write": "write of 4 KiB",
}
TWO_CORES = "FUSE in C, a core each"
FLOOR = "the same way answered in C"
PEERS = {
    "FUSE in C": {"ping": 1.1, "exchange": 1.1, "read": 1.1, "write": 1.1},
    "pyfuse3": {"read": 0.3, "write": 0.3},
    "mfusepy": {"ping": 0.3, "exchange": 0.3, "read": 0.3, "write": 0.3},
    "umockdev": {"ping": 0.5, "exchange": 0.5},
    FLOOR: {"ping": None},
}
NOT_PINNED = {"FUSE in C": 0.3}  # its goal there; the others have the same one
OTHERS_TOO = dict.fromkeys(OPERATIONS)  # without a goal


def measure(bench: Bench) -> Iterator[Row]:
    with ExitStack() as stack:
        systems: dict[str, Daemon | Missing] = {}
        for name, command in commands(bench).items():
            try:
                systems[name] = stack.enter_context(mounted(bench, name, command()))
            except Missing as missing:
                systems[name] = missing
        for pinned in (True, False):
            yield from _measure(bench, systems, pinned)


def commands(bench: Bench) -> dict[str, object]:
    """Give the FUSE daemons, by name: how to get the command that runs each."""
    return {
        "FUSE in C": lambda: [bench.peer("fuse", "fuse3", "libfuse3-dev")],
        "pyfuse3": lambda: _python("pyfuse3"),
        "mfusepy": lambda: _python("mfusepy"),
    }


def _python(package: str) -> list[str]:
    try:
        __import__(package)
    except (ImportError, OSError, AttributeError) as error:
        raise Missing(f"{package} can't be imported: {error}") from None
    return [sys.executable, str(HERE / "peers" / f"{package}_fs.py")]


def _arguments(bench: Bench, operations: dict[str, object]) -> list[str]:
    count = bench.count(2000)
    return ["3", *(f"{name}:{4096 if name in ('read', 'write') else 0}:{count}"
                   for name in operations)]  # fmt: skip


def _measure(bench: Bench, systems: dict[str, Daemon | Missing], pinned: bool) -> Iterator[Row]:
    client = bench.client("call")
    arguments = _arguments(bench, OPERATIONS)
    device = "/dev/bench"
    sides: dict[str, Side] = {
        "mapdev": lambda: bench.mapdev("Bench", [client, device, *arguments], pinned)
    }
    for name, system in systems.items():
        sides[name] = file_system_side(
            bench, system, [client], _arguments(bench, PEERS[name]), pinned
        )
    peers = PEERS
    if not pinned:
        peers = PEERS | {TWO_CORES: OTHERS_TOO}
        sides[TWO_CORES] = lambda: _two_cores(bench, systems["FUSE in C"], client, arguments)
    sides["umockdev"] = lambda: _umockdev(bench, pinned)
    plain = [client, "/dev/null", *_arguments(bench, PEERS[FLOOR])]
    sides[FLOOR] = lambda: bench.run([bench.peer("notify"), *plain], pinned)
    results = bench.alternate(sides)
    ours = results.pop("mapdev")
    where = "pinned" if pinned else "not pinned"
    for peer, goals in peers.items():
        for name, goal in goals.items():
            goal = goal if pinned or peer not in NOT_PINNED else NOT_PINNED[peer]
            yield Row(f"{OPERATIONS[name]}, {where}", peer, ours[name], results[peer][name],
                      most=goal, why_not=ours.why_not or results[peer].why_not)  # fmt: skip


def file_system_side(
    bench: Bench, system: Daemon | Missing, client: list[str], arguments: list[str],
    pinned: bool,
) -> Side:  # fmt: skip
    """Give a side that runs `client` on the file of a FUSE daemon."""

    def run() -> Samples:
        if isinstance(system, Missing):
            raise system
        system.pin({bench.core} if pinned else os.sched_getaffinity(0))
        return bench.run([*client, system.file, *arguments], pinned)

    return run


def _two_cores(
    bench: Bench, system: Daemon | Missing, client: str, arguments: list[str]
) -> Samples:
    if isinstance(system, Missing):
        raise system
    others = os.sched_getaffinity(0) - {bench.core}
    if not others:
        raise Missing("there is one core only")
    system.pin({min(others)})
    return bench.run([client, system.file, *arguments], pinned=True)


def _umockdev(bench: Bench, pinned: bool) -> Samples:
    wrapper = shutil.which("umockdev-wrapper")
    if wrapper is None:
        raise Missing("umockdev is missing: apt-get install umockdev libumockdev-dev")
    peer = bench.peer("umockdev", "umockdev-1.0", "libumockdev-dev")
    client = bench.client("call", static=False)
    arguments = _arguments(bench, PEERS["umockdev"])
    return bench.run([wrapper, peer, client, "/dev/bench", *arguments], pinned)
