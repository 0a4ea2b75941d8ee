"""A small machine for tests of the vocabulary and of its memory; no host, no client."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import pytest

from mapdev.host.embedded.memory import PhysicalMemory
from mapdev.linux import Kthread
from mapdev.linux.context import Context, enter, reset

MIB = 1 << 20


class Machine(PhysicalMemory):
    """Physical memory, on which nobody waits."""

    def wake_up(self, queue: Hashable, owner: Hashable, nr: int | None = None) -> None:
        """Do nothing: no call is parked."""

    def add_kthread(self, kthread: Kthread) -> None:
        """Do nothing: drivers stop their own."""


@pytest.fixture
def memory() -> Iterator[PhysicalMemory]:
    """64 MiB of physical memory; at the end nothing of it may be lost."""
    memory = Machine(64 * MIB)
    yield memory
    for owner in list(memory._frames.owners):
        memory.reclaim(owner)
    used, held = memory.counts().used, memory.counts().held
    memory.close()
    assert (used, held) == (0, 0)


@pytest.fixture
def context(memory: PhysicalMemory) -> Iterator[Context]:
    """The context of a device called "device", outside of any call."""
    context = Context(memory, owner="device")  # type: ignore[arg-type]  # no tasks here
    token = enter(context)
    yield context
    reset(token)
