"""What benchmarks are made of: building and running programs, pinning, rounds.

`Bench` is handed to each benchmark. Clients and peers are C programs that print a name and a number
a line (`Samples`); they are built when they are needed, and what can't be had raises `Missing` with
the reason, which then stands in the table.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).parent
BUILT = HERE / ".build"
DRIVERS = HERE / "drivers.py"
MAPDEV = [sys.executable, "-m", "mapdev.cli"]
PATIENCE = 120  # seconds for one run of a client

Samples = dict[str, list[float]]
Side = Callable[[], Samples]


class Missing(Exception):  # noqa: N818 - no error: a row that says so
    """Something can't be measured here; the text says why."""


class Bench:
    """How much is to be measured, and the means to do it.

    :ivar rounds: how often both sides of a comparison run.
    :ivar quick: measure less.
    :ivar core: where what is pinned runs.
    """

    def __init__(self, quick: bool) -> None:
        self.quick = quick
        self.rounds = 2 if quick else 5
        self.core = max(os.sched_getaffinity(0))
        self.directory = Path(tempfile.mkdtemp(prefix="mapdev-bench-"))

    def close(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def count(self, number: int) -> int:
        """Give how often to do something that is done `number` times in a whole run."""
        return max(1, number // 4) if self.quick else number

    # --- building ---------------------------------------------------------------------------

    def client(self, name: str, static: bool = True) -> str:
        """Build a client and return its path; static unless it must be preloaded."""
        flags = ["-static"] if static else []
        return _build(HERE / "clients" / f"{name}.c", name if static else f"{name}-dynamic", flags)

    def peer(self, name: str, package: str = "", debian: str = "") -> str:
        """Build a peer, with a library that pkg-config knows, and return its path."""
        flags = ["-pthread"]
        if package:
            config = shutil.which("pkg-config")
            done = subprocess.run([config or "false", "--cflags", "--libs", package],
                                  capture_output=True, text=True)  # fmt: skip
            if done.returncode:
                raise Missing(f"{package} is missing: apt-get install pkg-config {debian}")
            flags += done.stdout.split()
        return _build(HERE / "peers" / f"{name}.c", f"peer-{name}", flags)

    # --- running ----------------------------------------------------------------------------

    def run(self, command: Sequence[object], pinned: bool = False) -> Samples:
        """Run a client and return what it printed."""
        prefix = ["taskset", "-c", str(self.core)] if pinned else []
        done = subprocess.run([*prefix, *map(str, command)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=PATIENCE)  # fmt: skip
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise Missing(f"{Path(str(command[0])).name} failed: {said}")
        samples: Samples = defaultdict(list)
        for line in done.stdout.splitlines():
            name, value = line.split()
            samples[name].append(float(value))
        return samples

    def mapdev(
        self, device: str, command: Sequence[object], pinned: bool = False, memory: str = "1G"
    ) -> Samples:
        """Run a client with /dev/bench, `device` being a class of drivers.py and its parameters."""
        options = ["run", "-m", memory, "-d", f"/dev/bench={DRIVERS}:{device}", "--"]
        return self.run([*MAPDEV, *options, *command], pinned)

    def alternate(self, sides: dict[str, Side], rounds: int = 0) -> dict[str, Rounds]:
        """Run all sides once in each round, each round beginning with another one.

        A side that raises `Missing` is left out of further rounds; see `Rounds.why_not`.
        """
        results = {name: Rounds() for name in sides}
        names = list(sides)
        for number in range(rounds or self.rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                if results[name].why_not:
                    continue
                try:
                    results[name].samples.append(sides[name]())
                except Missing as missing:
                    results[name].why_not = str(missing)
                except subprocess.TimeoutExpired:
                    results[name].why_not = f"it took more than {PATIENCE} s"
        return results


class Rounds:
    """What one side gave in all rounds."""

    def __init__(self) -> None:
        self.samples: list[Samples] = []
        self.why_not = ""

    def __getitem__(self, name: str) -> list[float]:
        """Give the median of a figure in each round."""
        return [statistics.median(samples[name]) for samples in self.samples if name in samples]


def _build(source: Path, name: str, flags: list[str]) -> str:
    program = BUILT / name
    newest = max(source.stat().st_mtime, (HERE / "clients" / "bench.h").stat().st_mtime)
    if program.exists() and program.stat().st_mtime > newest:
        return str(program)
    compiler = shutil.which("cc")
    if compiler is None:
        raise Missing("no C compiler: apt-get install gcc libc6-dev")
    BUILT.mkdir(exist_ok=True)
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(source), *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"{source.name} does not compile: {done.stderr.strip().splitlines()[-1]}")
    return str(program)
