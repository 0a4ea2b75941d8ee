"""Calls that wait: parked, run again when they are woken, ended when a signal comes.

A parked call is one that was received and is not answered yet; its thread sleeps in the kernel.
`Parking` keeps it, with what is needed to go on. After a wake-up the operation is run again in the
host's thread, on the same open file, and answered if it does not wait again. Since an answered call
can't be undone and a call is answered once, each operation takes effect exactly once.

While anything is parked, `tend` has to be called whenever it is `due`: that is how signals are seen
(`pending`), which end a call as in the kernel (`interrupt`), and how the calls of dead clients are
forgotten. Looking takes a few per cent of a processor at most, however many calls there are: the
more it takes the rarer it gets.

Objects: a `Waiting` is what a handler gives back in place of a result; a `_Parked` has one at a
time, and counts as a user of its open file. All of it is used in the host's thread, under the
host's lock, but for `wake` and the end of a coroutine, which may come in any thread; `_lock` guards
what they leave behind.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TYPE_CHECKING

from mapdev.host.coroutines import Coroutines, Running
from mapdev.host.dispatch import Dispatcher
from mapdev.host.embedded.files import OpenFile
from mapdev.host.embedded.interrupt import interrupt
from mapdev.host.embedded.notify import Call
from mapdev.host.embedded.pending import GroupStops, ThreadStatus
from mapdev.host.embedded.waiting import Waiting

if TYPE_CHECKING:
    from mapdev.host.embedded.kernel import Kernel

_FIRST_LOOK, _RAREST_LOOK = 0.002, 0.010  # seconds
_GROWTH = 1.5
_SHARE = 20  # looking takes one part in so many


class _Parked:
    """A parked call.

    :ivar running: its coroutine, when the operation is ``async def``.
    :ivar by_signal: whether that was cancelled for a signal, and if so whether a private one.
    """

    __slots__ = ("by_signal", "call", "running", "status", "waiting")

    def __init__(self, call: Call, waiting: Waiting) -> None:
        self.call = call
        self.waiting = waiting
        self.status = ThreadStatus(call.tid)
        self.running: Running | None = None
        self.by_signal: bool | None = None

    @property
    def key(self) -> Hashable:
        """What wakes it: a wait queue, or any of its driver's."""
        return self.waiting.wait.queue or self.waiting.file.device.driver


class Parking:
    """All parked calls of a host.

    :param carry_out: runs a function for a call and answers it, or returns what it waits for.
    :param poke: makes the host's thread call `tend` soon; called in any thread.
    :ivar busy: whether `tend` has something to do, now or later.
    """

    def __init__(
        self,
        kernel: Kernel,
        coroutines: Coroutines,
        carry_out: Callable[..., Waiting | None],
        poke: Callable[[], None],
    ) -> None:
        self._kernel = kernel
        self._dispatch: Dispatcher = kernel.dispatch
        self._coroutines = coroutines
        self._carry_out = carry_out
        self._poke = poke
        self.busy = False
        self._calls: dict[_Parked, None] = {}
        self._queues: dict[Hashable, dict[_Parked, None]] = {}
        self._stops = GroupStops()
        self._due = self._earliest = 0.0  # when to look, and when it would not be too often
        self._interval = _FIRST_LOOK
        self._thread = 0
        self._own: list[tuple[Hashable, Hashable, Call | None]] = []  # woken by operations
        self._lock = threading.Lock()
        self._others: dict[Hashable, Hashable] | None = {}  # woken by other threads; None: closed
        self._ended: list[_Parked] = []  # coroutines

    # --- from any thread --------------------------------------------------------------------

    def wake(self, queue: Hashable, owner: Hashable) -> None:
        """Note that `queue`, which is driver `owner`'s, was woken."""
        if threading.get_ident() == self._thread:
            self._own.append((queue, owner, self._kernel.current))
            self.busy = True
            return
        with self._lock:
            if self._others is not None:
                self.busy = True
                if not self._others and not self._ended:
                    self._poke()
                self._others[queue] = owner

    def _coroutine_ended(self, parked: _Parked) -> None:
        with self._lock:
            if self._others is not None:
                self.busy = True
                self._poke()
                self._ended.append(parked)

    # --- in the host's thread ---------------------------------------------------------------

    def begin(self) -> None:
        """Know the host's thread, which is the calling one."""
        self._thread = threading.get_ident()

    def park(self, call: Call, waiting: Waiting) -> None:
        """Keep `call` until what it waits for has come."""
        parked = _Parked(call, waiting)
        waiting.file.waiting += 1
        self._calls[parked] = None
        self.busy = True
        self._enter(parked)
        self._look_soon()

    def _enter(self, parked: _Parked) -> None:
        wait = parked.waiting.wait
        if wait.coroutine is not None and wait.context is not None:
            parked.running = self._coroutines.start(
                wait.coroutine, wait.context, lambda: self._make_current(parked.call),
                lambda: self._coroutine_ended(parked),
            )  # fmt: skip
        else:
            self._queues.setdefault(parked.key, {})[parked] = None

    @contextlib.contextmanager
    def _make_current(self, call: Call) -> Iterator[None]:
        """Run a step of a coroutine, in its own thread, for `call`."""
        before, self._kernel.current = self._kernel.current, call
        try:
            yield
        finally:
            self._kernel.current = before

    def _leave(self, parked: _Parked) -> None:
        queue = self._queues.get(parked.key)
        if queue is not None:
            queue.pop(parked, None)
            if not queue:
                del self._queues[parked.key]

    @property
    def due(self) -> float:
        """When `tend` must be called at the latest, by the monotonic clock, if it is `busy`."""
        return 0.0 if self._own or self._others or self._ended else self._due

    def tend(self) -> None:
        """Do what is due now: run what was woken, look for signals."""
        if self._own or self._others or self._ended:
            self._run_woken()
        elif self._calls and time.monotonic() < self._due:
            return  # as after most calls
        if self._calls and time.monotonic() >= self._due:
            self.look()
        with self._lock:
            self.busy = bool(self._calls or self._own or self._others or self._ended)

    def _run_woken(self) -> None:
        """Run again what was woken until now, and have poll see what changed."""
        own, self._own = self._own, []
        with self._lock:
            others, ended = self._others or {}, self._ended
            if self._others is not None:
                self._others = {}
            self._ended = []
        for parked in ended:
            self._finish_coroutine(parked)
        for queue, owner, source in (*own, *((key, of, None) for key, of in others.items())):
            self._kernel.polling.woken(queue, owner)
            for parked in self._waiting_for(queue, owner):
                # What a call's own operation woke before it waited was no news to itself.
                if parked.call is not source and parked in self._calls:
                    self._run_again(parked)
        self._kernel.current = None

    def _waiting_for(self, *keys: Hashable) -> Iterable[_Parked]:
        return [parked for key in keys for parked in self._queues.get(key, ())]

    def _run_again(self, parked: _Parked) -> None:
        if not parked.call.is_waited_for():
            self._forget(parked)
            return
        self._kernel.current = parked.call
        mark = len(self._own)
        before = parked.waiting
        waiting = self._carry_out(parked.call, self._dispatch.again, before.wait, before.again)
        if waiting is None:
            self._remove(parked)
            return
        if waiting.wait.repeated:
            # The operation did nothing but wait again: what it woke on its way there it had woken
            # the first time. Two such would keep waking each other.
            del self._own[mark:]
        if waiting.wait.coroutine is None and waiting.wait.queue is before.wait.queue:
            parked.waiting = waiting  # it keeps its place in the queue
            self._queues.setdefault(parked.key, {})[parked] = None
        else:
            self._leave(parked)
            parked.waiting = waiting
            self._enter(parked)

    def _finish_coroutine(self, parked: _Parked) -> None:
        running, parked.running = parked.running, None
        if parked not in self._calls or running is None:
            return
        if not running.is_cancelled:
            parked.waiting.wait.outcome = running.result
            self._run_again(parked)
        elif parked.by_signal is None:
            parked.call.fail(errno.EIO)  # the driver has cancelled its own operation
            self._forget(parked)
        else:
            self._end_by_signal(parked, parked.by_signal)

    # --- signals ----------------------------------------------------------------------------

    def _look_soon(self) -> None:
        """Look at a call that was just parked sooner than at those that wait for long."""
        now = time.monotonic()
        due = now + _FIRST_LOOK
        self._interval = _FIRST_LOOK
        self._due = max(self._earliest, due if len(self._calls) == 1 else min(self._due, due))

    def look(self) -> None:
        """See which parked calls have to end because of a signal or of their thread's death."""
        began = time.monotonic()
        processes: dict[int, list[_Parked]] = {}
        for parked in tuple(self._calls):
            pending = parked.status.read()
            if pending is None:
                self._forget(parked)
            elif pending.private or pending.shared:
                self._interrupt(parked, pending.private)
            elif pending.threads > 1:
                processes.setdefault(pending.tgid, []).append(parked)
        for tgid, calls in processes.items():
            if self._stops.is_stopping(tgid, {parked.call.tid for parked in calls}):
                for parked in calls:
                    self._interrupt(parked, False)
        self._stops.keep(set(processes))
        now = time.monotonic()
        self._interval = min(self._interval * _GROWTH, _RAREST_LOOK)
        self._earliest = now + (now - began) * _SHARE
        self._due = max(self._earliest, now + self._interval)

    def _interrupt(self, parked: _Parked, is_private: bool) -> None:
        if parked.running is None:
            self._end_by_signal(parked, is_private)
        elif parked.by_signal is None:
            parked.by_signal = is_private
            parked.running.cancel()

    def _end_by_signal(self, parked: _Parked, is_private: bool) -> None:
        waiting = parked.waiting
        if waiting.so_far:
            parked.call.answer(waiting.so_far)
        else:
            interrupt(parked.call, is_private)
            self._dispatch.interrupted(waiting.wait)
        self._forget(parked)

    # --- the end ----------------------------------------------------------------------------

    def check(self, open_file: OpenFile) -> None:
        """Forget calls of `open_file` whose client is dead: its last descriptor is gone."""
        for parked in tuple(self._calls):
            if parked.waiting.file is open_file and not parked.call.is_waited_for():
                self._forget(parked)

    def _forget(self, parked: _Parked) -> None:
        """Let go of a call whose operation is not to be run any more."""
        if parked.running is not None:
            parked.running.cancel()
        self._remove(parked)
        parked.waiting.abandon()

    def _remove(self, parked: _Parked) -> None:
        del self._calls[parked]
        self._leave(parked)
        parked.status.close()
        self._kernel.done_waiting(parked.waiting.file)

    def close(self) -> None:
        """Fail what is still parked: its device goes away."""
        with self._lock:
            self._others = None
        for parked in tuple(self._calls):
            parked.call.fail(errno.ENODEV)
            self._forget(parked)
        self._stops.keep(set())
