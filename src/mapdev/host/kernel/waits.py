"""Calls that wait for the driver: kept here, run again when they are woken.

The client sleeps in the module, which was told that the call waits: a signal comes as
MAPDEV_INTERRUPT and ends it with ERESTARTSYS, its death as MAPDEV_GONE. All of it is used in the
server's thread, under the host's lock, but for `wake` and the end of a coroutine, which may come in
any thread; `_lock` guards what they leave behind.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Hashable, Iterable

from mapdev.host.coroutines import Coroutines, Running
from mapdev.host.dispatch import Dispatcher, WouldWait
from mapdev.host.kernel import uapi
from mapdev.host.kernel.control import Control, Request

CarryOut = Callable[[Request, Callable[[], None]], WouldWait | None]
"""Runs a call; returns why it has to wait, if it does."""


class _Waiting:
    """A call that waits.

    :ivar again: carries it out once more.
    :ivar running: its coroutine, if the operation is ``async def``.
    """

    def __init__(self, request: Request, wait: WouldWait, again: Callable[[], None]) -> None:
        self.request = request
        self.wait = wait
        self.again = again
        self.running: Running | None = None
        self.is_interrupted = False

    @property
    def key(self) -> Hashable:
        """What has to be woken: a queue, or anything of the driver's."""
        return self.wait.queue if self.wait.queue is not None else self.wait.device.driver


class Waits:
    """All calls that wait.

    :param carry_out: see `CarryOut`.
    :param woken: told of each wake-up, so that whoever polls asks again.
    :param forget: told of calls that end without their operation.
    :ivar current: for which call operations run now.
    :ivar busy: whether `tend` has something to do.
    """

    def __init__(
        self,
        control: Control,
        dispatch: Dispatcher,
        coroutines: Coroutines,
        carry_out: CarryOut,
        woken: Callable[[Hashable, Hashable], None],
        forget: Callable[[Request], None],
    ) -> None:
        self._control = control
        self._dispatch = dispatch
        self._coroutines = coroutines
        self._carry_out = carry_out
        self._tell = woken
        self._forgotten = forget
        self._calls: dict[int, _Waiting] = {}
        self._queues: dict[Hashable, dict[_Waiting, None]] = {}
        self._thread = 0
        self._lock = threading.Lock()
        self._woken: dict[tuple[Hashable, Hashable], int] | None = {}  # and during which call
        self._ended: list[_Waiting] = []
        self.current = 0
        self.busy = False

    # --- from any thread --------------------------------------------------------------------

    def wake(self, queue: Hashable, owner: Hashable) -> None:
        """Note that `queue`, which is driver `owner`'s, was woken."""
        own = threading.get_ident() == self._thread
        with self._lock:
            if self._woken is None:
                return
            kick = not own and not self.busy
            self.busy = True
            # What a call's own operation woke before it waited is no news to itself.
            self._woken[queue, owner] = self.current if own else 0
        if kick:
            self._control.kick()

    def _coroutine_ended(self, waiting: _Waiting) -> None:
        with self._lock:
            if self._woken is None:
                return
            self._ended.append(waiting)
            self.busy = True
        self._control.kick()

    # --- in the server's thread -------------------------------------------------------------

    def begin(self) -> None:
        """Know the server's thread, which is the calling one."""
        self._thread = threading.get_ident()

    def keep(self, request: Request, wait: WouldWait, again: Callable[[], None]) -> None:
        """Keep a call until what it waits for has come."""
        waiting = self._calls[request.id] = _Waiting(request, wait, again)
        self._control.keep_waiting(request.id)
        self._enter(waiting)

    def _enter(self, waiting: _Waiting) -> None:
        wait = waiting.wait
        if wait.coroutine is not None and wait.context is not None:
            waiting.running = self._coroutines.start(
                wait.coroutine, wait.context, contextlib.nullcontext,
                lambda: self._coroutine_ended(waiting),
            )  # fmt: skip
        else:
            self._queues.setdefault(waiting.key, {})[waiting] = None

    def _leave(self, waiting: _Waiting) -> None:
        queue = self._queues.get(waiting.key)
        if queue is not None:
            queue.pop(waiting, None)
            if not queue:
                del self._queues[waiting.key]

    def tend(self) -> None:
        """Run what was woken until now, and have poll see what changed."""
        with self._lock:
            woken, ended = self._woken or {}, self._ended
            self.busy = False
            if self._woken is not None:
                self._woken = {}
            self._ended = []
        for waiting in ended:
            self._finish_coroutine(waiting)
        for (queue, owner), source in woken.items():
            self._tell(queue, owner)
            for waiting in self._waiting_for(queue, owner):
                if waiting.request.id != source and waiting.request.id in self._calls:
                    self._run_again(waiting)

    def _waiting_for(self, *keys: Hashable) -> Iterable[_Waiting]:
        return [waiting for key in keys for waiting in self._queues.get(key, ())]

    def _run_again(self, waiting: _Waiting) -> None:
        request, before = waiting.request, waiting.wait
        if not self._control.is_waited_for(request.id):
            self.gone(request.id)
            return
        wait = self._carry_out(request, lambda: self._dispatch.again(before, waiting.again))
        if wait is None:
            self._leave(waiting)
            del self._calls[request.id]
            return
        if wait.repeated:
            # It did nothing but wait again: what it woke on its way there it had woken before.
            with self._lock:
                for key in [key for key, of in (self._woken or {}).items() if of == request.id]:
                    del self._woken[key]  # type: ignore[union-attr]
        self._leave(waiting)
        waiting.wait = wait
        self._enter(waiting)

    def _finish_coroutine(self, waiting: _Waiting) -> None:
        running, waiting.running = waiting.running, None
        if waiting.request.id not in self._calls or running is None:
            return
        if not running.is_cancelled:
            waiting.wait.outcome = running.result
            self._run_again(waiting)
        elif waiting.is_interrupted:
            self._end(waiting, -uapi.ERESTARTSYS)
        else:
            self._end(waiting, -errno.EIO)  # the driver has cancelled its own operation

    def interrupt(self, request: int) -> None:
        """A signal came for the client of a call."""
        waiting = self._calls.get(request)
        if waiting is None:
            return
        waiting.is_interrupted = True
        if waiting.running is not None:
            waiting.running.cancel()
        else:
            self._end(waiting, -uapi.ERESTARTSYS)

    def _end(self, waiting: _Waiting, result: int) -> None:
        if result == -uapi.ERESTARTSYS:
            self._dispatch.interrupted(waiting.wait)
        self._control.answer(waiting.request.id, result)
        self.gone(waiting.request.id)

    def gone(self, request: int) -> None:
        """Nobody waits for a call any more."""
        waiting = self._calls.pop(request, None)
        if waiting is not None:
            self._leave(waiting)
            if waiting.running is not None:
                waiting.running.cancel()
            self._forgotten(waiting.request)

    def close(self) -> None:
        """Fail what still waits: its device goes away."""
        with self._lock:
            self._woken = None
        for waiting in tuple(self._calls.values()):
            self._end(waiting, -errno.ENODEV)
