"""What it costs a host to be watched: an ioctl while its events are noted, and while they are read.

All sides are measured on hosts of this process, which are pinned, with their clients, to one core.
"Noted" is what the host itself does at each event. Whoever reads them makes text of them in the
same process, which at so many calls keeps the core busy: "a recording is written" has that in it.
What differs is little, so that there are more rounds than elsewhere, and shorter ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import mapdev
from bench import drivers
from bench.harness import Bench, Missing, Samples, Side
from bench.report import Row
from mapdev.host.core.host import Host
from mapdev.watch.beside import Recording

NEVER, OFF, NOTED, WRITTEN = "nobody has watched", "nobody watches any more", "noted", "written"


def measure(bench: Bench) -> Iterator[Row]:
    client = bench.client("call")
    command = [client, "/dev/bench", "5", f"ping:0:{bench.count(1000)}"]
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {bench.core})
    try:
        with mapdev.host("64M") as fresh, mapdev.host("64M") as watched:
            for host in fresh, watched:
                host.add(drivers.Bench, "/dev/bench")
            with _noted(watched):
                pass

            def side(host: Host, how: Callable[[], AbstractContextManager[object]]) -> Side:
                def run() -> Samples:
                    with how():
                        return _run(host, command)

                return run

            results = bench.alternate({
                NEVER: side(fresh, nullcontext),
                OFF: side(watched, nullcontext),
                NOTED: side(watched, lambda: _noted(watched)),
                WRITTEN: side(watched, lambda: _written(watched, bench.directory / "recording")),
            }, 3 * bench.rounds)  # fmt: skip
    finally:
        os.sched_setaffinity(0, cores)
    ping = {name: rounds["ping"] for name, rounds in results.items()}
    why_not = next((rounds.why_not for rounds in results.values() if rounds.why_not), "")
    what = "ioctl with a number, pinned,"
    yield Row(f"{what} when {OFF}", NEVER, ping[OFF], ping[NEVER], most=1.05, why_not=why_not)
    yield Row(f"{what} while events are noted", OFF, ping[NOTED], ping[OFF], most=1.2,
              why_not=why_not)  # fmt: skip
    yield Row(f"{what} while a recording is written", OFF, ping[WRITTEN], ping[OFF],
              why_not=why_not)  # fmt: skip


def _run(host: Host, command: list[str]) -> Samples:
    done = host.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise Missing(f"the client failed: {done.stderr.strip()}")
    return {"ping": [float(line.split()[1]) for line in done.stdout.splitlines()]}


@contextmanager
def _noted(host: Host) -> Iterator[None]:
    """Watch, and read nothing."""
    host.control.begin()
    try:
        yield
    finally:
        host.control.end()


@contextmanager
def _written(host: Host, path: Path) -> Iterator[None]:
    recording = Recording(host, str(path))
    try:
        yield
    finally:
        recording.stop()
