"""`FrameClock`: when the next picture is due. A test may hold it and step it.

It runs by itself from `start`: picture N is due N intervals later. A camera that is late itself, on
a busy machine, is late from then on: no picture is left out for that. While it is held, time stands
still: a picture comes for each `step`, and its number and timestamp depend on nothing else.

Two threads use a `FrameClock`: the driver's, which waits in `next_frame`, and whoever holds it. Its
condition guards all of its state; no other lock is taken inside.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["FrameClock", "Tick"]

NANOSECONDS = 10**9
_LOOK = 1.0  # seconds; whoever changes something says so before


class Tick(NamedTuple):
    """A moment at which a picture is due.

    :ivar number: of the picture since the start; those that were skipped are counted
    :ivar timestamp: nanoseconds on CLOCK_MONOTONIC, or of the held time
    :ivar is_stepped: it was asked for by `FrameClock.step`
    """

    number: int
    timestamp: int
    is_stepped: bool


class FrameClock:
    """The time of a camera.

    :ivar is_held: time stands still but for `step`
    """

    def __init__(self) -> None:
        self.is_held = False
        self._changed = threading.Condition()
        self._interval = (1, 30)  # seconds, as numerator and denominator
        self._is_running = False
        self._start = NANOSECONDS  # of a stream that begins while time is held
        self._origin = 0  # nanoseconds: when picture 0 was due
        self._next = 0  # number of the picture that comes next
        self._left_out = 0  # of a stream that is yet to begin
        self._asked = 0  # steps since the clock was made: asked for,
        self._issued = 0  # begun,
        self._taken = 0  # and done

    @property
    def frames(self) -> int:
        """How many pictures have been due since the start."""
        return self._next

    def start(self, numerator: int, denominator: int, delay: float = 0.0) -> None:
        """Begin with picture 0, one each `numerator` / `denominator` seconds.

        :param delay: seconds until the first, unless time is held
        """
        with self._changed:
            self._interval = numerator, denominator
            self._is_running = True
            self._next, self._left_out = self._left_out, 0
            now = time.monotonic_ns() + round(delay * NANOSECONDS)
            self._origin = self._start if self.is_held else now
            self._changed.notify_all()

    def stop(self) -> None:
        """End: `next_frame` returns None. A step that was begun will be begun anew."""
        with self._changed:
            self._is_running = False
            self._issued = self._taken
            self._changed.notify_all()

    def next_frame(self, is_ready: Callable[[], bool]) -> Tick | None:
        """Wait for the moment when a picture is due; None when the clock was stopped.

        :param is_ready: says whether a picture can be taken; a step waits for that, and asks again
            after `look`
        """
        with self._changed:
            while self._is_running:
                if self.is_held:
                    if self._issued < self._asked and is_ready():
                        self._issued += 1
                        return self._tick(self._next, is_stepped=True)
                    self._changed.wait(_LOOK)
                    continue
                left = self._due(self._next) - time.monotonic_ns()
                if left <= 0:
                    interval = self._interval[0] * NANOSECONDS // self._interval[1]
                    self._origin += -left // interval * interval
                    return self._tick(self._next, is_stepped=False)
                self._changed.wait(left / NANOSECONDS)
            return None

    def look(self) -> None:
        """Have `next_frame` ask again whether a picture can be taken."""
        with self._changed:
            self._changed.notify_all()

    def taken(self, tick: Tick) -> None:
        """Say that the picture of a moment is where it belongs, so that `step` returns."""
        if tick.is_stepped:
            with self._changed:
                self._taken += 1
                self._changed.notify_all()

    def hold(self, at: float = 1.0) -> None:
        """Let time stand still.

        :param at: seconds; the timestamp of the first picture of streams that begin while it does
        """
        with self._changed:
            self.is_held = True
            self._start = round(at * NANOSECONDS)
            self._changed.notify_all()

    def release(self) -> None:
        """Let time go on: the next picture is due now."""
        with self._changed:
            if self.is_held:
                self.is_held = False
                self._asked = self._issued
                self._origin += time.monotonic_ns() - self._due(self._next)
            self._changed.notify_all()

    def skip(self, frames: int = 1) -> None:
        """Leave out the numbers of the next pictures, of a stream that is yet to begin too."""
        with self._changed:
            if self._is_running:
                self._next += frames
            else:
                self._left_out += frames

    def step(self, frames: int = 1, timeout: float = 10.0) -> None:
        """Let the time of some pictures pass; return when buffers of a program have them.

        Time is held from now on. It waits for a program that streams, and for its buffers.

        :param timeout: seconds
        :raises TimeoutError: there were none by then
        """
        if not self.is_held:
            self.hold()
        with self._changed:
            self._asked += frames
            goal = self._asked
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._taken >= goal, timeout):
                missing = goal - self._taken
                self._asked = self._issued
                raise TimeoutError(f"no program took {missing} of {frames} pictures; {self!r}")

    def __repr__(self) -> str:
        state = "running" if self._is_running else "not started"
        return f"<FrameClock {state}{', held' * self.is_held}, {self._next} pictures>"

    def _due(self, number: int) -> int:
        numerator, denominator = self._interval
        return self._origin + number * numerator * NANOSECONDS // denominator

    def _tick(self, number: int, is_stepped: bool) -> Tick:
        self._next = number + 1
        return Tick(number, self._due(number), is_stepped)
