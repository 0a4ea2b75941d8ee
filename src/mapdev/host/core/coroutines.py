"""Runs ``async def`` operations of drivers in one asyncio loop for each host, in its own thread.

The thread is started, and asyncio imported, when the first such operation runs. Each step of a
coroutine, and of the tasks that it starts, holds the host's lock, like any driver code; the context
of the operation goes along in a context variable. Used under the host's lock, except for `stop`.

Objects: a `Running` is one operation, from its start until its result has been taken.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any

from mapdev.linux.context import Context, enter

if TYPE_CHECKING:
    import asyncio

_PATIENCE = 5.0  # seconds that cancelled operations get to end


class _EscapedError(Exception):
    """Carries out of a step what would end the asyncio loop."""

    def __init__(self, original: BaseException) -> None:
        super().__init__(repr(original))
        self.original = original


class Running:
    """An ``async def`` operation that has been started."""

    task: asyncio.Task[Any]  # set in the loop's thread, before anything else happens

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def cancel(self) -> None:
        """Cancel it; `Coroutines.start`'s ``done`` is called when it has ended, either way."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: all have ended
            self._loop.call_soon_threadsafe(lambda: self.task.cancel())

    @property
    def is_cancelled(self) -> bool:
        """Whether it ended by being cancelled."""
        return self.task.cancelled()

    def result(self) -> Any:
        """Return the result, or raise the exception, of an operation that has ended."""
        try:
            return self.task.result()
        except _EscapedError as escaped:
            raise escaped.original from None


class Coroutines:
    """Runs coroutines in an asyncio loop and its thread, which the first one starts."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(
        self,
        coroutine: Coroutine[Any, Any, Any],
        context: Context,
        done: Callable[[], None],
    ) -> Running:
        """Run `coroutine` in `context`; `done` is called in the loop's thread when it has ended."""
        loop = self._loop or self._begin()
        running = Running(loop)
        variables = contextvars.copy_context()
        variables.run(enter, context)

        def begin() -> None:
            steps = _Locked(coroutine, self._lock)
            running.task = loop.create_task(steps, context=variables)
            running.task.add_done_callback(lambda _: done())

        loop.call_soon_threadsafe(begin)
        return running

    def _begin(self) -> asyncio.AbstractEventLoop:
        import asyncio

        def locked(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
            if not isinstance(coroutine, _Locked):  # a task that an operation started
                coroutine = _Locked(coroutine, self._lock)
            return asyncio.Task(coroutine, loop=loop, **options)

        loop = asyncio.new_event_loop()
        loop.set_task_factory(locked)
        self._loop = loop
        self._thread = threading.Thread(target=_run, args=[loop], name="mapdev async", daemon=True)
        self._thread.start()
        return loop

    def stop(self) -> None:
        """Cancel what runs and end the thread; without the lock, which the operations need."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(2 * _PATIENCE)
            self._loop = self._thread = None


def _run(loop: asyncio.AbstractEventLoop) -> None:
    import asyncio

    loop.run_forever()
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=_PATIENCE))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


class _Locked(Coroutine[Any, Any, Any]):
    """A coroutine, each step of which holds a lock."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], lock: threading.RLock) -> None:
        self._coroutine = coroutine
        self._lock = lock

    def send(self, value: Any) -> Any:
        with self._lock:
            try:
                return self._coroutine.send(value)
            except (SystemExit, KeyboardInterrupt) as error:
                raise _EscapedError(error) from None

    def throw(self, *error: Any) -> Any:
        with self._lock:
            try:
                return self._coroutine.throw(*error)
            except (SystemExit, KeyboardInterrupt) as raised:
                raise _EscapedError(raised) from None

    def close(self) -> None:
        with self._lock:
            self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()
