"""`SignalWatch` polls /proc for signals to threads with parked calls: no event reports them.

While a call is parked its thread sleeps in the kernel and can't see a signal. So the host reads the
thread's pending signals every 2 to 10 milliseconds, and lets a call end when there is one. Looking
takes a few per cent of a processor at most, however many calls wait: the longer a look takes, the
rarer it gets. Used in the host's thread only.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.embedded.thread_status import GroupStops, ThreadStatus

_FIRST_LOOK, _RAREST_LOOK = 0.002, 0.010  # seconds
_GROWTH = 1.5
_SHARE = 20  # looking takes one part in so many


class SignalWatch:
    """Looks for signals of the threads of parked calls.

    :param interrupt: called with a call for whose thread a signal is pending.
    :param forget: called with a call whose thread is dead.
    :ivar due: when to look at the latest, by the monotonic clock; None while no call is parked.
    """

    def __init__(self, interrupt: Callable[[Call], None], forget: Callable[[Call], None]) -> None:
        self._interrupt = interrupt
        self._forget = forget
        self._calls: dict[Call, ThreadStatus] = {}
        self._stops = GroupStops()
        self.due: float | None = None
        self._earliest = 0.0  # before that it would be too often
        self._interval = _FIRST_LOOK

    def add(self, call: Call) -> None:
        """Look for signals for the thread of `call` from now on: soon, since it is new."""
        self._calls[call] = ThreadStatus(call.tid)
        due = time.monotonic() + _FIRST_LOOK
        self._interval = _FIRST_LOOK
        self.due = max(self._earliest, due if self.due is None else min(self.due, due))

    def discard(self, call: Call) -> None:
        """Look no more for those of `call`."""
        self._calls.pop(call).close()
        if not self._calls:
            self.due = None
            self._stops.keep(set())

    def end(self, call: Call) -> None:
        """End `call` for a signal that is pending."""
        from mapdev.host.embedded.interrupt import interrupt  # here, for a quick start

        interrupt(call, call.has_private_signal)

    def look_if_due(self) -> None:
        """Look, if it is time."""
        if self.due is not None and time.monotonic() >= self.due:
            self.look()

    def look(self) -> None:
        """See which calls have to end because of a signal or of their thread's death."""
        began = time.monotonic()
        processes: dict[int, list[Call]] = {}
        for call, status in tuple(self._calls.items()):
            pending = status.read()
            if pending is None:
                self._forget(call)
            elif pending.private or pending.shared:
                self._end(call, pending.private)
            elif pending.threads > 1:
                processes.setdefault(pending.tgid, []).append(call)
        for tgid, calls in processes.items():
            if self._stops.is_stopping(tgid, {call.tid for call in calls}):
                for call in calls:
                    self._end(call, False)
        self._stops.keep(set(processes))
        now = time.monotonic()
        self._interval = min(self._interval * _GROWTH, _RAREST_LOOK)
        self._earliest = now + (now - began) * _SHARE
        if self._calls:
            self.due = max(self._earliest, now + self._interval)

    def _end(self, call: Call, is_private: bool) -> None:
        call.has_private_signal = is_private
        self._interrupt(call)
