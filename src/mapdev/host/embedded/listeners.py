"""`Listeners` keeps the seccomp listeners of all clients, and calls that were received out of turn.

A client's filter has one listener, which its children share. While the host carries out one call,
it may need a certain other one: that of a thread that it has just started in the client. Calls that
arrive in the meantime are kept for later. Used in the host's thread only.
"""

from __future__ import annotations

import select
from collections import deque

from mapdev.host.embedded.syscalls.notify import Call, Listener
from mapdev.host.embedded.watcher import Watcher


class Listeners:
    """Keeps all listeners by descriptor, and calls that were received out of turn.

    :param watcher: where they are watched.
    :ivar by_fd: the listeners, by descriptor.
    :ivar postponed: calls that were received while another one was carried out.
    """

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.by_fd: dict[int, Listener] = {}
        self.postponed: deque[Call] = deque()

    def next_call(self, timeout: float) -> Call | None:
        """Receive a call out of turn; None when there was none for `timeout` seconds."""
        poller = select.poll()
        for fd in self.by_fd:
            poller.register(fd, select.POLLIN)
        while ready := poller.poll(timeout * 1000):
            for fd, event in ready:
                call = None
                if event & select.POLLIN:
                    # It may have been the only one, and to receive the next would be to wait.
                    self._watcher.events.pop(fd, None)
                    call = self.by_fd[fd].receive()
                if call is not None:
                    return call
                if not event & select.POLLIN:
                    poller.unregister(fd)  # its clients are gone, which is handled later
        return None
