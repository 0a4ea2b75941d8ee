"""`Activity` is the part of a machine that both hosts share: wake-ups and kernel threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Protocol

from mapdev.host.allocation import Allocation
from mapdev.host.core.clock import Alarm, Clock
from mapdev.linux.context import Machine, Owner
from mapdev.linux.fs import File
from mapdev.linux.kobject import DeviceTree
from mapdev.linux.kthread import Kthread

__all__ = ["Activity", "HostMachine", "Wake", "nobody_waits"]

Wake = Callable[[Hashable, Owner, int | None], None]
"""Notes that a wait queue was woken, which belongs to a driver; called in any thread.

The number is how many exclusive waiters are woken, None for all.
"""


def nobody_waits(queue: Hashable, owner: Owner, nr: int | None) -> None:
    """Do nothing: the `Wake` of a machine without a host."""


class HostMachine(Machine, Protocol):
    """A machine that can say what its drivers have, and take it back.

    :ivar kthreads: the kernel threads that were started, for those who own them.
    :ivar failures: what drivers raised that is no `Exception`: it must fail the run.
    """

    kthreads: dict[Hashable, list[Kthread]]
    failures: list[BaseException]

    def owned_by(self, owner: Owner) -> list[Allocation]:
        """List what an owner has allocated and not freed."""

    def reclaim(self, owner: Owner) -> list[Allocation]:
        """Free all that an owner has; gives what that was."""


class Activity:
    """Implements wake-ups, timers and kernel threads of `Machine`, for both machines.

    :param wake: see `Wake`.
    :param clock: the host's.
    """

    def __init__(self, wake: Wake, clock: Clock | None = None) -> None:
        self._wake = wake
        self._clock = clock or Clock(threading.RLock())
        self.kthreads: dict[Hashable, list[Kthread]] = {}
        self.failures: list[BaseException] = []
        self.device_tree = DeviceTree()

    def wake_up(self, queue: Hashable, owner: Owner, nr: int | None = None) -> None:
        """Run again what waits on `queue`; from any thread."""
        self._wake(queue, owner, nr)

    def set_fasync(self, file: File, on: bool) -> None:
        """Do nothing: the machine finds the file's owner when it is to be signalled."""

    def kill_fasync(self, file: File, fd: int, sig: int, band: int) -> None:
        """Do nothing, where there are no programs."""

    def set_alarm(self, when: float, function: Callable[[], None]) -> Alarm:
        """Call `function` under the host's lock at a time of `time.monotonic`."""
        return self._clock.at(when, function, is_locked=True)

    def add_kthread(self, kthread: Kthread) -> None:
        """Know of a kernel thread, so that it ends with its owner; from any thread."""
        before = self.kthreads.get(kthread.owner, [])
        self.kthreads[kthread.owner] = [*(other for other in before if other.is_alive), kthread]

    def driver_raised(self, error: BaseException) -> None:
        """Note what a driver raised that is no `Exception`; from any thread."""
        self.failures.append(error)
