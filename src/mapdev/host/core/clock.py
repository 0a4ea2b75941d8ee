"""`Clock` calls functions at given times: time-outs of waits, and the timers of drivers.

Its thread begins with the first alarm. Timers of drivers run under the host's lock, like their
operations. An `Alarm` lives from `Clock.at` until it was called or cancelled; `_changed` guards all
of them, and no other lock is taken while it is held.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable

from mapdev.linux.log import log

__all__ = ["Alarm", "Clock"]

_LONG = 3600.0  # seconds; the longest wait at a time


class Alarm:
    """A function that `Clock` is to call."""

    __slots__ = ("_clock", "function", "is_locked")

    def __init__(self, clock: Clock, function: Callable[[], None], is_locked: bool) -> None:
        self._clock = clock
        self.function: Callable[[], None] | None = function
        self.is_locked = is_locked

    def cancel(self) -> bool:
        """Don't call it, in any thread; say whether it was still to be called."""
        with self._clock.changed:
            was_due, self.function = self.function is not None, None
        return was_due

    def wait(self) -> None:
        """Return when it doesn't run, in any thread; at once in the clock's own thread."""
        self._clock.wait_for(self)


class Clock:
    """Calls functions at given times, in a thread of its own.

    :param lock: the host's.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self.changed = threading.Condition()
        self._alarms: list[tuple[float, int, Alarm]] = []
        self._numbers = itertools.count()
        self._running: Alarm | None = None
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="mapdev clock", daemon=True)

    def at(self, when: float, function: Callable[[], None], is_locked: bool = False) -> Alarm:
        """Have `function` called at a time of `time.monotonic`; from any thread.

        :param is_locked: hold the host's lock while it runs.
        """
        alarm = Alarm(self, function, is_locked)
        with self.changed:
            heapq.heappush(self._alarms, (when, next(self._numbers), alarm))
            if self._thread.ident is None and not self._is_stopped:
                self._thread.start()
            self.changed.notify_all()
        return alarm

    def stop(self) -> None:
        """Call nothing any more; called without the host's lock, which alarms may wait for."""
        with self.changed:
            self._is_stopped = True
            self.changed.notify_all()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(_LONG)

    def wait_for(self, alarm: Alarm) -> None:
        """Return when `alarm` doesn't run."""
        if threading.current_thread() is self._thread:
            return
        with self.changed:
            while self._running is alarm:
                self.changed.wait(_LONG)

    def _run(self) -> None:
        while True:
            with self.changed:
                while not self._is_stopped and (not self._alarms or self._left() > 0):
                    self.changed.wait(min(self._left(), _LONG) if self._alarms else None)
                if self._is_stopped:
                    return
                alarm = heapq.heappop(self._alarms)[2]
            if alarm.function is None:
                continue
            if not alarm.is_locked:
                self._call(alarm)
                continue
            with self._lock:
                self._call(alarm)

    def _left(self) -> float:
        return self._alarms[0][0] - time.monotonic()

    def _call(self, alarm: Alarm) -> None:
        with self.changed:
            function, alarm.function = alarm.function, None
            self._running = alarm
        try:
            if function is not None and not self._is_stopped:
                function()
        except BaseException:  # those of drivers are dealt with in `function`
            log.exception("mapdev: an alarm failed; please report it")
        finally:
            with self.changed:
                self._running = None
                self.changed.notify_all()
