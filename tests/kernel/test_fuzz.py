"""Hostile daemons and hostile clients at once: the module must keep its objects, and the kernel its peace.

The seed is printed: MAPDEV_KERNEL_SEED=N uses it again, MAPDEV_KERNEL_TESTS=N fuzzes N times as
long. The debug kernel (module/debug-kernel run) has allocations fail besides.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from . import hostile
from .daemon import Client

SECONDS = 8
SAID = Path("/proc/sys/debug/exception-trace")  # signals that nobody handles


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("MAPDEV_KERNEL_SEED", random.randrange(1 << 32)))
    print(f"MAPDEV_KERNEL_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def failures_end() -> Iterator[None]:
    """Have allocations succeed again; and no word in the log of clients that spoil themselves."""
    if SAID.exists():
        SAID.write_text("0")
    yield
    if SAID.exists():
        SAID.write_text("1")
    for kind in ("failslab", "fail_page_alloc", "fail_usercopy"):
        probability = Path("/sys/kernel/debug") / kind / "probability"
        if probability.exists():
            probability.write_text("0")


def _be_a_client(seed: float) -> None:
    hostile.Client(seed).run()


def test_hostile_daemons_and_clients(chance: random.Random, times: int, failures_end: None) -> None:
    clients: list[Client] = []
    daemons: list[Client] = []
    started = 0
    end = time.monotonic() + SECONDS * times
    while time.monotonic() < end:
        for running, function, most in ((daemons, hostile.serve, 1), (clients, _be_a_client, 4)):
            running[:] = [one for one in running if not one.ended()]
            while len(running) < most:
                running.append(Client(partial(function, chance.random())))
                started += 1
        time.sleep(chance.uniform(0.01, 0.3))
        victim = chance.choice((*clients, *daemons))
        with contextlib.suppress(ProcessLookupError):
            victim.kill()
    assert started > 5
    for one in (*daemons, *clients):  # what a client waits for ends with the daemon
        with contextlib.suppress(ProcessLookupError):
            one.kill()
    for one in (*daemons, *clients):
        one.wait()
