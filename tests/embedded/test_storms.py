"""Nothing is lost: a thousand clients killed at any moment, a thousand trees of forks.

MAPDEV_STORM_SEED=N repeats a storm (as far as two processors allow), MAPDEV_STORM=N makes it N
clients.
"""

import logging
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pace import patience, rounds
from storm_devices import Static, add, left

from mapdev.host.embedded.host import EmbeddedHost
from mapdev.host.embedded.syscalls.launch import ClientProcess

SEED = int(os.environ.get("MAPDEV_STORM_SEED", "0")) or random.randrange(1 << 30)
NUMBER = int(os.environ.get("MAPDEV_STORM", "0")) or rounds(1000)
AT_ONCE = 4

Settled = Callable[[], None]


@pytest.fixture
def weather(mapdev: EmbeddedHost, static: Static, caplog: Any) -> Iterator[tuple[list[Any], Any]]:
    """Give the drivers and a seeded choice; afterwards all must be as it was before."""
    drivers = add(mapdev)
    mapdev.run([static("storm"), "nothing", "0"], check=True)  # what the first client makes stays
    before = left(mapdev, drivers)
    print(f"MAPDEV_STORM_SEED={SEED}")  # shown when it fails
    with caplog.at_level(logging.WARNING, "mapdev"):
        yield drivers, random.Random(SEED)
    deadline = time.monotonic() + patience(10)
    while (after := left(mapdev, drivers)) != before and time.monotonic() < deadline:
        mapdev.settle()
        mapdev._descendants.clients()  # collects those that we adopted
        time.sleep(0.01)
    changed = [(key, before[key], after[key]) for key in after if after[key] != before[key]]
    assert not changed, changed
    # Those of the test itself: caplog.records has the teardown's alone.
    logged = caplog.get_records("call") + caplog.get_records("teardown")
    assert [record.getMessage() for record in logged] == []
    assert mapdev.run(["true"], timeout=patience(60)).returncode == 0


def end(process: ClientProcess, status: int) -> None:
    assert process.wait(patience(20)) == status, process.args


KINDS = ("map", "threads", "change", "read", "poll", "fork")


def test_killed_at_any_moment(mapdev: EmbeddedHost, static: Static, weather: Any) -> None:
    drivers, random = weather
    living: list[tuple[float, ClientProcess]] = []
    for number in range(NUMBER):
        kind = KINDS[number % len(KINDS)]
        seed = str(random.randrange(1, 1 << 20))
        lifetime = random.uniform(0.002, 0.06)
        process = mapdev.popen([static("storm"), kind, seed], process_group=0)
        living.append((time.monotonic() + lifetime, process))
        if number % 5 == 0:
            drivers[2].put(b"item")
        while len(living) >= AT_ONCE or (number == NUMBER - 1 and living):
            living.sort(key=lambda entry: entry[0])
            due, process = living.pop(0)
            time.sleep(max(0.0, due - time.monotonic()))
            if random.random() < 0.5:
                os.kill(process.pid, signal.SIGKILL)  # its children live on
            else:
                os.killpg(process.pid, signal.SIGKILL)
            end(process, -signal.SIGKILL)
    drivers[2].items.clear()


def test_forks_and_execs(mapdev: EmbeddedHost, static: Static, weather: Any) -> None:
    """Each client is a tree of some five processes."""
    _, random = weather
    living: list[ClientProcess] = []
    for _ in range(NUMBER // 5):
        living.append(mapdev.popen([static("storm"), "forks", str(random.randrange(1 << 20))]))
        if len(living) >= AT_ONCE:
            first = living.pop(0)
            assert first.wait(patience(60)) in (0, -signal.SIGKILL), first.args
    for process in living:
        assert process.wait(patience(60)) in (0, -signal.SIGKILL), process.args
