"""`DeviceFiles` has a file of a FUSE mount for each open file of a device: clients have that one.

So the kernel asks the host, each time that poll, select or epoll asks a device, and shows what the
driver answers, to the bit. It tells of the last close (RELEASE). Wake-ups are passed on as
FUSE_NOTIFY_POLL.

Objects: a `Node` is such a file, from the open of a device to RELEASE; its number and name are used
again then. The mount is made when the first device is opened. Where there is no FUSE,
as in most containers, `is_there` is False, and sockets stand in: see `readiness`.

Used in the host's thread only. Nothing here may touch such a file in a way that is a request to
this same thread: `stat` of it is answered from the kernel's cache, close is none with
FOPEN_NOFLUSH, and open is left to the `Opener`.

Source: fs/fuse/file.c (fuse_file_poll, fuse_notify_poll_wakeup, fuse_flush, fuse_release)
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable

from mapdev.host.embedded.files import fuse
from mapdev.host.embedded.files.fuse import Connection, Request
from mapdev.host.embedded.files.fuse_mount import mount
from mapdev.host.embedded.files.opener import Opener
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.embedded.watcher import Watcher
from mapdev.linux.log import log

_FIRST = fuse.ROOT + 1
_PREFIX, _SUFFIX = "mapdev:[", "]"


class Node:
    """One file of the mount: what clients have of an open file of a device.

    :param fd: a descriptor of ours, which `forget_theirs` closes.
    :ivar link: what /proc shows for its descriptors.
    :ivar asked: returns the ``EPOLL*`` bits that poll shall show; gets those that are wanted.
    :ivar gone: called when the last descriptor of clients is gone.
    :ivar flushed: called with the thread that closes a descriptor, if the mount tells of that;
        returns the errno of the close, or 0.
    :ivar handle: the kernel's number for the open file, by which it is woken; 0: nobody waits.
    """

    __slots__ = ("_connection", "_fd", "asked", "flushed", "gone", "handle", "link")

    def __init__(self, connection: Connection, name: str, fd: int) -> None:
        self._connection = connection
        self._fd = fd
        self.link = f"/{name}"
        self.asked: Callable[[int], int] = _nothing
        self.gone: Callable[[], object] = _nothing
        self.flushed: Callable[[int], int] = _nothing
        self.handle = 0

    def put(self, call: Call, cloexec: bool, at: int | None) -> int:
        """Put a descriptor into the client of `call`, see `Call.add_descriptor`."""
        return call.add_descriptor(self._fd, at, cloexec)

    def forget_theirs(self) -> None:
        """Close our descriptor: from now on the clients' are the only ones."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def wake_up(self) -> None:
        """Have whoever polls it ask again."""
        if self.handle:
            self._connection.notify_poll(self.handle)

    def close(self) -> None:
        """Care no longer for what becomes of it."""
        self.asked = self.gone = self.flushed = _nothing
        self.handle = 0
        self.forget_theirs()


def _nothing(events: int = 0) -> int:
    return 0


class DeviceFiles:
    """All files of the mount, which is made when it is first asked for.

    :param watcher: where its requests are waited for.
    """

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._connection: Connection | None = None
        self._opener: Opener | None = None
        self._is_there: bool | None = None
        self._nodes: dict[int, Node] = {}
        self._free: list[int] = []
        self._next = _FIRST
        self._spare = 0  # the number of the file that is opened in advance
        self._later: deque[Request] = deque()  # came while the host waited for the opener
        self._again = -1  # an eventfd: there are some

    @property
    def is_there(self) -> bool:
        """Whether FUSE can be had here; it is tried once."""
        if self._is_there is None:
            try:
                self._begin()
                self._is_there = True
            except OSError as error:
                log.debug("no FUSE here, so sockets show what poll says: %s", error)
                self._is_there = False
        return self._is_there

    def _begin(self) -> None:
        connection = Connection(*mount())
        try:
            self._again = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._opener = Opener(connection.root, connection.fd, self._serve_opener)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._watcher.watch(connection.fd, self._serve)
        self._watcher.watch(self._again, self._serve_later)
        self._spare = self._begin_to_open()

    # --- making one -------------------------------------------------------------------------

    def make(self) -> Node:
        """Return a new node.

        :raises OSError: EMFILE we have too many descriptors.
        """
        assert self._connection is not None
        assert self._opener is not None
        number, self._spare = self._spare or self._begin_to_open(), 0
        name = name_of(number)
        try:
            fd = self._opener.get(name)
        except OSError:
            self._free.append(number)
            raise
        self._spare = self._begin_to_open()
        node = self._nodes[number] = Node(self._connection, name, fd)
        return node

    def _begin_to_open(self) -> int:
        """Have a file opened and return its number."""
        assert self._opener is not None
        if self._free:
            number = self._free.pop()
        else:
            number = self._next
            self._next += 1
        self._opener.begin(name_of(number))
        return number

    # --- requests of the kernel -------------------------------------------------------------

    def _serve(self) -> None:
        """Answer what there is, in the order in which it came."""
        connection = self._connection
        assert connection is not None
        while True:
            request = self._later.popleft() if self._later else connection.read()
            if request is None:
                return
            self._answer(connection, request)

    def _serve_later(self) -> None:
        os.eventfd_read(self._again)
        self._serve()

    def _serve_opener(self) -> None:
        """Answer the requests of the opener, and keep the others."""
        connection, opener = self._connection, self._opener
        assert connection is not None
        assert opener is not None
        while (request := connection.read()) is not None:
            if request.tid == opener.tid:
                self._answer(connection, request)
            else:
                self._later.append(request)
                os.eventfd_write(self._again, 1)

    def _answer(self, connection: Connection, request: Request) -> None:
        operation = request.operation
        if operation == fuse.POLL:
            answer_poll(connection, request, self._nodes.get(request.node))
        elif operation == fuse.RELEASE:
            connection.reply(request)
            self._gone(request.node)
        elif (
            operation in (fuse.LOOKUP, fuse.OPEN)
            and (self._opener is None or request.tid != self._opener.tid)
        ) or not answer_own(connection, request, flush=False):
            connection.reply(request, errno.ENOSYS)

    def _gone(self, number: int) -> None:
        node = self._nodes.pop(number, None)
        self._free.append(number)
        if node is not None:
            gone = node.gone
            node.close()
            gone()

    def close(self) -> None:
        """End the mount: for files that are left poll says POLLERR."""
        if self._connection is None:
            return
        for fd in self._connection.fd, self._again:
            self._watcher.unwatch(fd)
        for node in self._nodes.values():
            node.close()
        self._connection.close()
        if self._opener is not None:
            self._opener.close()
        os.close(self._again)
        self._connection = None


def answer_poll(connection: Connection, request: Request, node: Node | None) -> None:
    """Answer a POLL by what `node` says; there may be none any more."""
    handle, flags, events = request.poll()
    if node is not None and flags & fuse.POLL_SCHEDULE_NOTIFY:
        node.handle = handle
    connection.reply_poll(request, 0 if node is None else node.asked(events))


def answer_own(connection: Connection, request: Request, flush: bool) -> bool:
    """Answer what is about the mount itself and no driver; say whether it is.

    :param flush: see `Connection.reply_open`.
    """
    operation = request.operation
    if operation in (fuse.GETATTR, fuse.SETATTR):
        connection.reply_attributes(request)
    elif operation == fuse.STATFS:
        connection.reply_statfs(request)
    elif operation == fuse.LOOKUP:
        connection.reply_entry(request, _number(request.body))
    elif operation == fuse.OPEN:
        connection.reply_open(request, flush)
    else:
        return False
    return True


def name_of(number: int) -> str:
    """Return the name of a file of a mount."""
    return f"{_PREFIX}{number}{_SUFFIX}"


def _number(name: bytes) -> int:
    return int(name.rstrip(b"\0")[len(_PREFIX) : -len(_SUFFIX)])
