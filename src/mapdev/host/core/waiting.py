"""`Waiting` parks calls until their wait queue is woken, and runs them again in the kernel's order.

An operation that has to wait ends as `WouldWait`. `Waiting` keeps its call, which stays unanswered,
and has the operation run again after each `wake_up` of its queue. A call is answered once, so each
operation takes effect exactly once. Waiters of a queue are run in the order in which they came; one
that has to wait again keeps its place.

A wake-up is an event: it is noted with the call, if any, whose operation made it, so that none
overwrites another call's. What a call's own operation woke before it waited is no news to it.

Objects: a `_Sleeper` is one waiting call, from `keep` to its answer, and a use of its open file.
All of it is used in the host's thread, under the host's lock, but for `wake` and the end of a
coroutine, which may come in any thread: `_lock` guards what these leave behind.

Source: kernel/sched/wait.c
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Coroutine, Hashable, Iterator
from typing import Any, NamedTuple

from mapdev.host.core.call import Call
from mapdev.host.core.clock import Alarm, Clock
from mapdev.host.core.coroutines import Coroutines, Running
from mapdev.host.core.device import Device
from mapdev.linux.context import Owner, Progress, current_context
from mapdev.linux.log import log

__all__ = ["Waiting", "WouldWait"]


class WouldWait(BlockingIOError):  # noqa: N818 - an event, not an error
    """An operation that has begun and has to wait.

    :ivar queue: the wait queue whose wake-up it waits for, None for any of its driver's.
    :ivar coroutine: what the operation returned, if it is ``async def``; to be run to its end.
    :ivar outcome: returns the coroutine's result or raises its exception, once it has ended.
    :ivar again: goes on with the call from here; set anew by each function that has more to do than
        the one that it called.
    :ivar so_far: what the call has transferred already: its result if a signal comes.
    :ivar abandon: called if the call ends without its operation.
    :ivar is_repeated: the operation was run again, to no avail.
    :ivar deadline: when the operation is run again in any case, by `time.monotonic`.
    :ivar is_exclusive: a wake-up of so many runs only the first of these.
    :ivar is_interruptible: a signal ends the call.
    :ivar progress: what the operation has got past already.
    """

    def __init__(self, queue: Hashable = None) -> None:
        super().__init__(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.queue = queue
        self.coroutine: Coroutine[Any, Any, Any] | None = None
        self.outcome: Callable[[], Any] | None = None
        self.again: Callable[[], Any]
        self.so_far = 0
        self.abandon: Callable[[], None] | None = None
        self.is_repeated = False
        self.deadline: float | None = None
        self.is_exclusive = False
        self.is_interruptible = True
        self.progress: Progress | None = None


class Woken(NamedTuple):
    """One wake-up of a wait queue.

    :ivar owners: the driver that the queue belongs to, and the one that woke it.
    :ivar source: the call whose operation woke it, None outside of calls.
    """

    queue: Hashable
    owners: tuple[Owner, ...]
    source: object


class _Sleeper:
    """A parked call.

    :ivar running: its coroutine, while that runs.
    :ivar is_interrupted: that was cancelled for a signal.
    :ivar alarm: rings when its wait has a time limit.
    """

    __slots__ = ("alarm", "call", "is_interrupted", "running", "wait")

    def __init__(self, call: Call, wait: WouldWait) -> None:
        self.call = call
        self.wait = wait
        self.running: Running | None = None
        self.is_interrupted = False
        self.alarm: Alarm | None = None

    @property
    def key(self) -> Hashable:
        """The wait queue that wakes it, or its driver if any of its queues does."""
        return self.wait.queue if self.wait.queue is not None else self.call.owner


Run = Callable[[Call, Callable[[], Any]], WouldWait | None]
"""Goes on with a call and answers it, or returns why it has to wait again."""


class Waiting:
    """Keeps all parked calls of a host and runs them again after wake-ups.

    :param coroutines: runs ``async def`` operations.
    :param clock: ends waits that have a time limit.
    :param kick: makes the host's thread call `tend` soon; called in any thread.
    :ivar is_due: whether `tend` has something to do.
    """

    def __init__(self, coroutines: Coroutines, clock: Clock, kick: Callable[[], None]) -> None:
        self._coroutines = coroutines
        self._clock = clock
        self._kick = kick
        self.is_due = False
        self._calls: dict[Call, _Sleeper] = {}
        self._queues: dict[Hashable, dict[_Sleeper, None]] = {}
        self._thread = 0
        self._lock = threading.Lock()
        # Wake-ups that waiters have not seen yet: how many exclusive ones each wakes, None for all.
        self._woken: dict[Woken, int | None] = {}
        self._unshown: dict[Woken, None] = {}  # wake-ups that poll has not seen yet
        self._ended: list[_Sleeper] = []  # whose coroutine has ended
        self._expired: list[_Sleeper] = []  # whose time is over
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self._calls))

    def __contains__(self, call: object) -> bool:
        return call in self._calls

    # --- from any thread --------------------------------------------------------------------

    def wake(self, queue: Hashable, owner: Owner, nr: int | None = None) -> None:
        """Note that `queue`, which belongs to driver `owner`, was woken.

        :param nr: how many exclusive waiters are woken, None for all.
        """
        source = current_context()
        owners = (owner,) if source is None or source.owner == owner else (owner, source.owner)
        woken = Woken(queue, owners, source if isinstance(source, Call) else None)
        with self._lock:
            if not self._is_closed:
                # Whoever was not run since the last one needs no second; exclusive waiters add up.
                before = self._woken.get(woken, 0)
                self._woken[woken] = None if nr is None or before is None else before + nr
                self._unshown[woken] = None
                self._tend_soon()

    def _time_is_over(self, sleeper: _Sleeper) -> None:
        with self._lock:
            if not self._is_closed:
                self._expired.append(sleeper)
                self._tend_soon()

    def _coroutine_ended(self, sleeper: _Sleeper) -> None:
        with self._lock:
            if not self._is_closed:
                self._ended.append(sleeper)
                self._tend_soon()

    def _tend_soon(self) -> None:
        if not self.is_due:
            self.is_due = True
            if threading.get_ident() != self._thread:
                self._kick()

    # --- in the host's thread ---------------------------------------------------------------

    def begin(self) -> None:
        """Know the host's thread, which is the calling one."""
        self._thread = threading.get_ident()

    def keep(self, call: Call, wait: WouldWait) -> None:
        """Keep `call`, whose operation has to wait, until what it waits for has come."""
        sleeper = self._calls.get(call)
        if sleeper is None:
            sleeper = self._calls[call] = _Sleeper(call, wait)
            call.parked()
        elif wait.coroutine is None and sleeper.key == (wait.queue or call.owner):
            sleeper.wait = wait  # it keeps its place in the queue
            queue = self._queues.setdefault(sleeper.key, {})
            if wait.is_exclusive:  # this one had its turn, as in prepare_to_wait_exclusive()
                queue.pop(sleeper, None)
            queue[sleeper] = None
            self._set_alarm(sleeper)
            return
        else:
            self._leave(sleeper)
            sleeper.wait = wait
        if wait.coroutine is None:
            self._queues.setdefault(sleeper.key, {})[sleeper] = None
            self._set_alarm(sleeper)
        else:
            sleeper.running = self._coroutines.start(
                wait.coroutine, call, lambda: self._coroutine_ended(sleeper)
            )

    def _set_alarm(self, sleeper: _Sleeper) -> None:
        if sleeper.alarm is not None:
            sleeper.alarm.cancel()
            sleeper.alarm = None
        if sleeper.wait.deadline is not None:
            sleeper.alarm = self._clock.at(
                sleeper.wait.deadline, lambda: self._time_is_over(sleeper)
            )

    def _leave(self, sleeper: _Sleeper) -> None:
        queue = self._queues.get(sleeper.key)
        if queue is not None:
            queue.pop(sleeper, None)
            if not queue:
                del self._queues[sleeper.key]

    def show(self, woken: Callable[[Hashable, tuple[Owner, ...]], None]) -> None:
        """Have poll see what was woken until now: before a call is answered, and before the next.

        :param woken: see `Polling.woken`.
        """
        with self._lock:
            unshown, self._unshown = self._unshown, {}
        for wake in unshown:
            woken(wake.queue, wake.owners)

    def tend(self, run: Run, woken: Callable[[Hashable, tuple[Owner, ...]], None]) -> None:
        """Run again what was woken until now; what that wakes in turn is for the next time."""
        self.show(woken)
        with self._lock:
            wakes, self._woken = self._woken, {}
            ended, self._ended = self._ended, []
            expired, self._expired = self._expired, []
            self.is_due = bool(self._unshown)
            self._woken = {wake: wakes.pop(wake) for wake in self._unshown}  # poll sees them first
        for sleeper in ended:
            self._finish_coroutine(sleeper, run)
        for wake, nr in wakes.items():
            self._wake_sleepers(wake, nr, run)
        for sleeper in expired:
            due = sleeper.wait.deadline
            if sleeper.call in self._calls and due is not None and due <= time.monotonic():
                self._run_again(sleeper, run)

    def _wake_sleepers(self, wake: Woken, nr: int | None, run: Run) -> None:
        left = len(self._calls) if nr is None else nr
        for sleeper in self._sleepers(wake):
            if sleeper.call is wake.source or sleeper.call not in self._calls:
                continue
            is_exclusive = sleeper.wait.is_exclusive
            if is_exclusive and left <= 0:
                continue
            if self._run_again(sleeper, run) and is_exclusive:
                left -= 1

    def _sleepers(self, wake: Woken) -> list[_Sleeper]:
        keys = dict.fromkeys((wake.queue, *wake.owners))
        return [sleeper for key in keys for sleeper in self._queues.get(key, ())]

    def _run_again(self, sleeper: _Sleeper, run: Run) -> bool:
        """Run an operation again; say whether anybody was there to be woken."""
        call = sleeper.call
        if not call.is_waited_for():
            self.forget(call)
            return False
        before = {woken for woken in self._woken if woken.source is call}
        call.resumed = sleeper.wait
        wait = run(call, sleeper.wait.again)
        call.resumed = None
        if wait is None:
            self._remove(sleeper)
            return True
        if wait.is_repeated:
            # It did nothing but wait again: what it woke on its way there it had woken the first
            # time. Two such calls would keep waking each other.
            with self._lock:
                for woken in [woken for woken in self._woken if woken.source is call]:
                    if woken not in before:
                        del self._woken[woken]
                        self._unshown.pop(woken, None)
        self.keep(call, wait)
        return True

    def _finish_coroutine(self, sleeper: _Sleeper, run: Run) -> None:
        running, sleeper.running = sleeper.running, None
        if sleeper.call not in self._calls or running is None:
            return
        if not running.is_cancelled:
            sleeper.wait.outcome = running.result
            self._run_again(sleeper, run)
        elif sleeper.is_interrupted:
            self._end_by_signal(sleeper)
        else:
            self._cancelled_itself(sleeper.call)
            self.forget(sleeper.call)

    def _cancelled_itself(self, call: Call) -> None:
        from asyncio import CancelledError  # loaded by now

        log.error("an operation of %r has cancelled itself; the client gets EIO", call.owner)
        call.machine.driver_raised(CancelledError())
        call.fail(errno.EIO)

    def interrupt(self, call: Call) -> None:
        """End `call`, for whose client a signal is pending."""
        sleeper = self._calls.get(call)
        if sleeper is None:
            return
        if sleeper.running is None:
            if sleeper.wait.is_interruptible:
                self._end_by_signal(sleeper)
        elif not sleeper.is_interrupted:
            sleeper.is_interrupted = True
            sleeper.running.cancel()

    def _end_by_signal(self, sleeper: _Sleeper) -> None:
        call = sleeper.call
        if sleeper.wait.so_far:
            call.answer(sleeper.wait.so_far)
        else:
            call.interrupt()
        self.forget(call)

    def forget(self, call: Call) -> None:
        """Let go of a call whose operation is not to be run any more."""
        sleeper = self._calls.get(call)
        if sleeper is None:
            return
        if sleeper.running is not None:
            sleeper.running.cancel()
        self._remove(sleeper)
        # Who keeps a weak reference to it learns at once that nothing waits any more.
        sleeper.wait.progress = call.progress = None
        if sleeper.wait.abandon is not None:
            sleeper.wait.abandon()

    def _remove(self, sleeper: _Sleeper) -> None:
        del self._calls[sleeper.call]
        self._leave(sleeper)
        if sleeper.alarm is not None:
            sleeper.alarm.cancel()
        sleeper.call.unparked()

    def device_gone(self, device: Device) -> None:
        """End the calls that wait on files of a device that was removed."""
        for call in self:
            if call.file.device is device:
                so_far = self._calls[call].wait.so_far
                with contextlib.suppress(OSError):
                    if so_far:
                        call.answer(so_far)
                    else:
                        call.fail(errno.ENODEV)
                self.forget(call)

    def close(self) -> None:
        """Fail what still waits: its device goes away."""
        with self._lock:
            self._is_closed = True
        for call in self:
            with contextlib.suppress(OSError):  # a client that is gone
                call.fail(errno.ENODEV)
            self.forget(call)
