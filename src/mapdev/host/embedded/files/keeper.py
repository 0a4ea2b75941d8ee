"""`Keeper` holds descriptors of the host in a thread with a table of descriptors of its own.

To close a file of `flushed_files` is to wait for an answer of the host. In the host's own table
such a file would be closed where nobody can answer: by a program that is being started (the
interpreter stands still until that has closed what it does not inherit), and at the end of the
process, when all threads are dead already. In a table of its own only this thread closes it.

Numbers that the functions give and take mean the thread's table. Used in the host's thread.

Source: unshare(2), CLONE_FILES; close_range(2)
"""

from __future__ import annotations

import array
import os
import queue
import socket
import threading
from collections.abc import Callable

from mapdev.host.embedded.libc import close_range, unshare_files
from mapdev.host.embedded.syscalls.notify import Call, add_descriptor

_LOOK = 1.0  # seconds after which the host's thread looks whether the other lives
_ALL = (1 << 32) - 1


class Keeper:
    """The thread.

    :param root: a directory below which files are opened; the thread has a copy of it.
    :raises OSError: EPERM a sandbox forbids it.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._theirs = theirs.fileno()
        self._work: queue.SimpleQueue[Callable[[], int] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mapdev keeper", daemon=True)
        self._thread.start()
        try:
            self._make(self._leave)
        finally:
            theirs.close()

    def open(self, name: str) -> int:
        """Open a file for reading and writing.

        :raises OSError: EMFILE there are too many.
        """
        return self._make(lambda: os.open(name, os.O_RDWR | os.O_CLOEXEC, dir_fd=self._root))

    def put(self, fd: int, call: Call, at: int | None, cloexec: bool) -> int:
        """Put a copy of a descriptor into the client of `call`, see `Call.add_descriptor`."""
        socket.send_fds(self._ours, [b"\0"], [call.listener.fd])

        def put() -> int:
            listener = self._receive()
            try:
                return add_descriptor(listener, call.id, fd, at, cloexec)
            finally:
                os.close(listener)

        return self._make(put)

    def close_file(self, fd: int) -> None:
        """Close a descriptor."""

        def close() -> int:
            os.close(fd)
            return 0

        self._make(close)

    def close(self) -> None:
        """End the thread, and close what it holds."""
        self._work.put(None)
        self._thread.join(_LOOK)
        self._ours.close()

    def _make(self, work: Callable[[], int]) -> int:
        """Have the thread do something; return its result."""
        self._work.put(work)
        while True:
            try:
                done = self._done.get(timeout=_LOOK)
            except queue.Empty:
                if not self._thread.is_alive():
                    raise OSError("the thread that keeps descriptors has ended") from None
                continue
            if isinstance(done, BaseException):
                raise done
            return done

    # --- in the thread ----------------------------------------------------------------------

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                self._done.put(work())
            except BaseException as error:
                self._done.put(error)

    def _leave(self) -> int:
        """Have a table of our own, with nothing but what is needed in it."""
        unshare_files()
        first = 0
        for kept in sorted((self._root, self._theirs)):
            if kept > first:
                close_range(first, kept - 1)
            first = kept + 1
        close_range(first, _ALL)
        return 0

    def _receive(self) -> int:
        with socket.socket(fileno=os.dup(self._theirs)) as channel:
            _, ((_, _, data),), _, _ = channel.recvmsg(1, socket.CMSG_SPACE(4))
        return array.array("i", data[:4])[0]
