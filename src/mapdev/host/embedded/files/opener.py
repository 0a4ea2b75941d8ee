"""`Opener` opens files of a FUSE mount in a thread, since the host's own answers the requests.

To open such a file is to make requests to the host's thread, which so can't do it itself: it goes
on serving the mount until the file is there. One file is always opened in advance, so that mostly
nobody waits. The thread also asks for the status of the root directory, which the kernel keeps: the
host's thread may be asked for it, by a client that looks through the descriptors of all processes,
and could not answer itself. All attributes belong to the host's thread but the queue and `_opened`.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections import deque
from collections.abc import Callable

_LOOK = 1.0  # seconds after which the host's thread looks whether the other lives


class Opener:
    """Opens files below a directory.

    :param root: its descriptor.
    :param requests: of the mount: readable when `serve` has something to do.
    :param serve: answers requests, without waiting.
    """

    def __init__(self, root: int, requests: int, serve: Callable[[], object]) -> None:
        self._root = root
        self._serve = serve
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poller = select.poll()
        self._poller.register(requests, select.POLLIN)
        self._poller.register(self._event, select.POLLIN)
        self._queue: deque[str | None] = deque()
        self._asked = threading.Semaphore(0)  # how many are in the queue
        self._opened: dict[str, int | OSError] = {}
        self._thread = threading.Thread(target=self._run, name="mapdev opener", daemon=True)
        self._thread.start()

    @property
    def tid(self) -> int:
        """The thread's number, which its requests have."""
        return self._thread.native_id or 0

    def begin(self, name: str) -> None:
        """Have a file opened; `get` gives its descriptor."""
        self._queue.append(name)
        self._asked.release()

    def get(self, name: str) -> int:
        """Return the descriptor of a file that was asked for, which may have to come.

        :raises OSError: it can't be opened: EMFILE there are too many.
        """
        while name not in self._opened:
            if any(fd == self._event for fd, _ in self._poller.poll(_LOOK * 1000)):
                os.eventfd_read(self._event)
            self._serve()
            if not self._thread.is_alive():
                raise OSError("the thread that opens files has ended")
        opened = self._opened.pop(name)
        if isinstance(opened, OSError):
            raise opened
        return opened

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            os.fstat(self._root)  # from now on the kernel knows its status, and asks no more
        while self._asked.acquire() and (name := self._queue.popleft()) is not None:
            try:
                self._opened[name] = os.open(name, os.O_RDWR | os.O_CLOEXEC, dir_fd=self._root)
            except OSError as error:
                self._opened[name] = error
            os.eventfd_write(self._event, 1)

    def close(self) -> None:
        """End the thread, after the mount has ended."""
        self._queue.append(None)
        self._asked.release()
        self._thread.join(_LOOK)
        for opened in self._opened.values():
            if isinstance(opened, int):
                os.close(opened)
        os.close(self._event)
