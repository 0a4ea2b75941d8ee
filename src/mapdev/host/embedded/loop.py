"""The host's thread as its parts use it: descriptors that it watches, work that it is given.

`Loop` is made before all else, so that whoever has a descriptor to be watched gets it in its
constructor. It owns the epoll instance. `watch` and `unwatch` are called in the host's thread, or
before it runs; `submit`, `in_thread` and `wake_up` in any. `Server` is what runs in the thread.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class Loop:
    """What the host's thread waits for.

    :ivar epoll: the epoll instance.
    :ivar handlers: what to do for an event, by descriptor.
    :ivar events: those that were fetched and are not handled yet, by descriptor.
    """

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.events: dict[int, int] = {}
        self._work: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = 0
        self._lock = threading.RLock()  # of _work and _is_closed; signal handlers come here too
        self._is_closed = False
        self.register(self._wake, select.EPOLLIN, lambda _: self._do_work())

    # --- from any thread --------------------------------------------------------------------

    def submit(self, work: Callable[[], Any]) -> Any:
        """Run `work` in the host's thread and return its result or raise its exception."""
        outcome: list[Any] = [None, None]  # result and exception
        done = threading.Event()

        def run() -> None:
            try:
                outcome[0] = work()
            except BaseException as error:
                outcome[1] = error
            done.set()

        if self.post(run):
            done.wait()
        else:
            run()  # the thread has ended, so nobody is disturbed
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def post(self, work: Callable[[], None]) -> bool:
        """Have `work` run soon in the host's thread; False if that has ended."""
        with self._lock:
            if not self._is_closed:
                self._work.append(work)
                os.eventfd_write(self._wake, 1)
            return not self._is_closed

    def in_thread(self, work: Callable[[], Any]) -> Any:
        """Run `work` in the host's thread, which may be the caller's; see `submit`."""
        return work() if threading.get_ident() == self._thread else self.submit(work)

    def wake_up(self) -> None:
        """Let the thread look again at what it has to do."""
        with self._lock:
            if not self._is_closed:
                os.eventfd_write(self._wake, 1)

    # --- in the host's thread ---------------------------------------------------------------

    def begin(self) -> None:
        """Know the host's thread, which is the calling one."""
        self._thread = threading.get_ident()

    def watch(self, fd: int, then: Callable[[], None]) -> None:
        """Call `then` whenever descriptor `fd` is readable, or hung up."""
        self.register(fd, select.EPOLLIN, lambda _: then())

    def register(self, fd: int, events: int, handle: Callable[[int], None]) -> None:
        """Call `handle` with what epoll says of descriptor `fd`.

        :param events: EPOLLIN and the like; a hang-up is always reported.
        """
        self.handlers[fd] = handle
        self.epoll.register(fd, events)

    def unwatch(self, fd: int) -> None:
        """Watch descriptor `fd` no longer; before it is closed."""
        # The number may be another descriptor's soon, which an event of this batch is not for.
        self.events.pop(fd, None)
        if not self._is_closed:
            del self.handlers[fd]
            self.epoll.unregister(fd)

    def _do_work(self) -> None:
        os.eventfd_read(self._wake)
        self._run_all()

    def _run_all(self) -> None:
        while self._work:
            self._work.popleft()()

    # --- when the thread has ended ----------------------------------------------------------

    def close(self) -> None:
        """Do what was submitted and not done yet; from now on nothing is watched."""
        with self._lock:
            self._is_closed = True
        self._run_all()
        self.epoll.close()
        os.close(self._wake)
