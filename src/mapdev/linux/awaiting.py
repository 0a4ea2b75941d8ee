"""Waits for ``async def`` operations: the wait functions' counterparts that are awaited.

A coroutine sleeps where it waits, as an operation in C does: nothing is run again. A signal cancels
it. These are mapdev's own names, each with ``async_`` before the kernel's.
"""

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mapdev.linux.completion import Completion, try_wait_for_completion
from mapdev.linux.numbers import HZ, MAX_SCHEDULE_TIMEOUT
from mapdev.linux.wait import WaitQueueHead

if TYPE_CHECKING:
    import asyncio

__all__ = ["async_msleep", "async_wait_event", "async_wait_for_completion"]


class _Coroutine:
    """A coroutine that sleeps in a wait queue."""

    def __init__(self, loop: "asyncio.AbstractEventLoop", event: "asyncio.Event") -> None:
        self._loop = loop
        self._event = event

    @property
    def wake(self) -> "_Coroutine":
        return self

    def set(self) -> None:
        """Wake it; in any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: all there has ended
            self._loop.call_soon_threadsafe(self._event.set)


async def async_wait_event(
    wq_head: WaitQueueHead,
    condition: Callable[[], object],
    timeout: int = MAX_SCHEDULE_TIMEOUT,
    *,
    is_exclusive: bool = False,
) -> int:
    """Wait in an ``async def`` operation until a condition holds, or until some time is over.

    :param wq_head: the queue that is woken when the condition may have changed
    :param condition: called without arguments; what it returns is true when the wait is over
    :param timeout: jiffies, of which ``HZ`` are a second
    :param is_exclusive: `wake_up` wakes only the first of these
    :return: 0 if the time is over, else the jiffies that were left, at least 1

    Source: mapdev's own; include/linux/wait.h (wait_event_interruptible_timeout)
    """
    import asyncio

    wq_head.adopt()
    event = asyncio.Event()
    sleeper = _Coroutine(asyncio.get_running_loop(), event)
    end = time.monotonic() + timeout / HZ if timeout < MAX_SCHEDULE_TIMEOUT else None
    try:
        while True:
            event.clear()  # before the look, so that no wake-up after it is lost
            if is_exclusive:
                wq_head.exclusive[sleeper] = None
            else:
                wq_head.sleepers.add(sleeper)
            left = None if end is None else end - time.monotonic()
            if condition():
                return max(1, timeout if left is None else int(left * HZ))
            if left is not None and left <= 0:
                return 0
            with contextlib.suppress(TimeoutError):  # the condition is looked at once more
                await asyncio.wait_for(event.wait(), left)
    finally:
        wq_head.sleepers.discard(sleeper)
        wq_head.exclusive.pop(sleeper, None)


async def async_wait_for_completion(x: Completion, timeout: int = MAX_SCHEDULE_TIMEOUT) -> int:
    """Wait in an ``async def`` operation until `complete` was called.

    :param timeout: jiffies
    :return: 0 if the time is over, else the jiffies that were left, at least 1

    Source: mapdev's own; kernel/sched/completion.c
    """
    return await async_wait_event(
        x.wait, lambda: try_wait_for_completion(x), timeout, is_exclusive=True
    )


async def async_msleep(msecs: int) -> None:
    """Sleep in an ``async def`` operation.

    :param msecs: milliseconds

    Source: mapdev's own; kernel/time/sleep_timeout.c (msleep)
    """
    import asyncio

    await asyncio.sleep(msecs / 1000)
