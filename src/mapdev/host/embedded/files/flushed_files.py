"""`FlushedFiles` has files of a second FUSE mount, for drivers with a flush operation.

The kernel tells of each close of a descriptor of such a file (FLUSH), and the close waits for the
answer, whoever closes: a client, a helper of ours in it, or the host itself. The host's own thread
may be waiting for one of the latter two, so another thread reads requests that stay unread for a
moment. It answers what no driver is asked for; the rest it leaves to the host's thread. What the
host holds itself is in the table of a `Keeper`.

The order stays that of the clients: a close comes before what its thread does next. So the host
calls `catch_up` before it handles a call, and is told of a request before that is read.

Objects: as in `device_files`; the mount and the thread are made for the first file. `_lock` guards
the reading of requests: what has been read is answered, or is in `_later`, when it is let go.

Source: fs/fuse/file.c (fuse_flush), fs/open.c (filp_flush), fs/file.c (close_files)
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mapdev.host.embedded.files import fuse
from mapdev.host.embedded.files.device_files import Node, answer_own, answer_poll, name_of
from mapdev.host.embedded.files.fuse import Connection, Request
from mapdev.host.embedded.files.fuse_mount import mount
from mapdev.host.embedded.inject.helpers import Helpers
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.embedded.watcher import Watcher
from mapdev.linux.log import log

if TYPE_CHECKING:
    from mapdev.host.embedded.files.keeper import Keeper

_FIRST = 1 << 32  # so that no name is that of a file of the other mount
_MOMENT = 0.002  # seconds in which the host's thread takes a request, unless it is busy
_PATIENCE = 1.0  # seconds, for the thread to end


class FlushedNode(Node):
    """One file of the mount, which a keeper holds for us."""

    __slots__ = ("_files",)

    def __init__(self, connection: Connection, name: str, fd: int, files: FlushedFiles) -> None:
        super().__init__(connection, name, fd)
        self._files = files

    def put(self, call: Call, cloexec: bool, at: int | None) -> int:
        """Put a descriptor into the client of `call`, see `Call.add_descriptor`."""
        with self._files.keeping() as keeper:
            return keeper.put(self._fd, call, at, cloexec)

    def forget_theirs(self) -> None:
        """Close our descriptor: from now on the clients' are the only ones."""
        if self._fd >= 0:
            with self._files.keeping() as keeper:
                keeper.close_file(self._fd)
            self._fd = -1


class FlushedFiles:
    """All files of the mount.

    :param watcher: how the thread has the host's look up.
    :param helpers: threads whose closes are no program's.
    :ivar is_waiting: the host's thread waits for the keeper.
    """

    def __init__(self, watcher: Watcher, helpers: Helpers) -> None:
        self._watcher = watcher
        self._helpers = helpers
        self._connection: Connection | None = None
        self._keeper: Keeper | None = None
        self._is_there: bool | None = None
        self._thread: threading.Thread | None = None
        self._nodes: dict[int, Node] = {}
        self._free: list[int] = []
        self._next = _FIRST
        self._lock = threading.Lock()
        self._later: deque[Request] = deque()
        self._event = self._end = -1  # eventfds: there are some; the thread shall end
        self.is_waiting = False  # the host's thread can answer nothing now

    @property
    def is_made(self) -> bool:
        """Whether there is or was such a file."""
        return self._connection is not None

    @property
    def is_there(self) -> bool:
        """Whether FUSE can be had here; it is tried once."""
        if self._is_there is None:
            try:
                self._begin()
                self._is_there = True
            except OSError as error:
                log.debug("no FUSE here, so drivers are told of last closes only: %s", error)
                self._is_there = False
        return self._is_there

    def _begin(self) -> None:
        from mapdev.host.embedded.files.keeper import Keeper  # here, for a quick start

        connection = Connection(*mount())
        try:
            self._keeper = Keeper(connection.root)
        except BaseException:
            connection.close()
            raise
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._end = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._helpers.is_wanted = True
        self._connection = connection
        self._watcher.watch(self._event, self._serve)
        self._watcher.watch(connection.fd, self.catch_up)
        self._thread = threading.Thread(
            target=self._run, args=(connection,), name="mapdev closes", daemon=True
        )
        self._thread.start()

    def make(self) -> Node:
        """Return a new node.

        :raises OSError: EMFILE we have too many descriptors.
        """
        assert self._connection is not None
        if self._free:
            number = self._free.pop()
        else:
            number, self._next = self._next, self._next + 1
        name = name_of(number)
        try:
            with self.keeping() as keeper:
                fd = keeper.open(name)
        except OSError:
            self._free.append(number)
            raise
        node = self._nodes[number] = FlushedNode(self._connection, name, fd, self)
        return node

    @contextlib.contextmanager
    def keeping(self) -> Iterator[Keeper]:
        """Wait for the keeper in the block, whose requests the other thread answers at once."""
        assert self._keeper is not None
        self.is_waiting = True
        try:
            yield self._keeper
        finally:
            self.is_waiting = False

    # --- in a thread of its own -------------------------------------------------------------

    def _run(self, connection: Connection) -> None:
        poller = select.poll()
        poller.register(connection.fd, select.POLLIN)
        poller.register(self._end, select.POLLIN)
        requests = select.poll()
        requests.register(connection.fd, select.POLLIN)
        while all(fd != self._end for fd, _ in poller.poll()):
            if not self.is_waiting:
                time.sleep(_MOMENT)
                if not requests.poll(0):
                    continue  # the host's thread has taken it
            with self._lock:
                os.eventfd_write(self._event, 1)
                self._read(connection)

    # --- in either thread, with the lock ----------------------------------------------------

    def _read(self, connection: Connection) -> None:
        """Take all requests that there are; answer what concerns no driver."""
        while (request := connection.read()) is not None:
            if request.operation in (fuse.POLL, fuse.RELEASE):
                self._later.append(request)
            elif request.operation == fuse.FLUSH:
                if self._is_ours(request):
                    connection.reply(request)
                else:
                    self._later.append(request)
            elif not answer_own(connection, request, flush=True):
                connection.reply(request, errno.ENOSYS)

    def _is_ours(self, request: Request) -> bool:
        """Say whether the host itself has closed a descriptor, or a helper of it in a client."""
        return os.path.exists(f"/proc/self/task/{request.tid}") or request.tid in self._helpers

    # --- in the host's thread ---------------------------------------------------------------

    def catch_up(self) -> None:
        """Handle the closes before now, and what else was asked."""
        connection = self._connection
        assert connection is not None
        while True:
            with self._lock:
                self._read(connection)
                if not self._later:
                    return
                request = self._later.popleft()
            self._answer(connection, request)

    def _serve(self) -> None:
        os.eventfd_read(self._event)
        self.catch_up()

    def _answer(self, connection: Connection, request: Request) -> None:
        node = self._nodes.get(request.node)
        if request.operation == fuse.POLL:
            answer_poll(connection, request, node)
        elif request.operation == fuse.FLUSH:
            connection.reply(request, 0 if node is None else node.flushed(request.tid))
        else:
            connection.reply(request)
            self._nodes.pop(request.node, None)
            self._free.append(request.node)
            if node is not None:
                gone = node.gone
                node.close()
                gone()

    def close(self) -> None:
        """End the mount, and the threads."""
        if self._connection is None or self._thread is None or self._keeper is None:
            return
        for node in self._nodes.values():
            node.close()
        self._keeper.close()
        self._watcher.unwatch(self._event)
        self._watcher.unwatch(self._connection.fd)
        os.eventfd_write(self._end, 1)
        self._thread.join(_PATIENCE)
        self._connection.close()
        for fd in self._event, self._end:
            os.close(fd)
        self._connection = None
