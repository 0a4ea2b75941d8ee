"""`Watcher` owns the epoll instance of the host's thread and maps descriptors to their handlers.

`Watcher` is made before all else, so that whoever has a descriptor to be watched gets it in its
constructor. It owns the epoll instance; `Server` waits for it. Used in the host's thread only, or
before that runs and when it has ended.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable


class Watcher:
    """Watches descriptors by epoll, with a handler for each.

    :ivar epoll: the epoll instance.
    :ivar handlers: what to do for an event, by descriptor.
    :ivar events: those that were fetched and are not handled yet, by descriptor.
    """

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.handlers: dict[int, Callable[[int], object]] = {}
        self.events: dict[int, int] = {}
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(self._wake, lambda: os.eventfd_read(self._wake))

    def kick(self) -> None:
        """Make whoever waits for events look up; in any thread."""
        if not self.epoll.closed:
            os.eventfd_write(self._wake, 1)

    def watch(self, fd: int, then: Callable[[], object]) -> None:
        """Call `then` whenever descriptor `fd` is readable, or hung up."""
        self.register(fd, select.EPOLLIN, lambda _: then())

    def register(self, fd: int, events: int, handle: Callable[[int], object]) -> None:
        """Call `handle` with what epoll says of descriptor `fd`.

        :param events: EPOLLIN and the like; a hang-up is always reported.
        """
        self.epoll.register(fd, events)
        self.handlers[fd] = handle

    def unwatch(self, fd: int) -> None:
        """Watch descriptor `fd` no longer; to be called before it is closed."""
        # The number may be another descriptor's soon, which an event of this batch is not for.
        self.events.pop(fd, None)
        if not self.epoll.closed:
            del self.handlers[fd]
            self.epoll.unregister(fd)

    def close(self) -> None:
        """Watch nothing any more; `unwatch` may still be called."""
        self.epoll.close()
        os.close(self._wake)
