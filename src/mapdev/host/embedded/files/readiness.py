"""`Readiness` makes a socketpair look to poll, select and epoll as a driver's poll operation says.

It stands in for a file of a FUSE mount (`device_files`) where there is no FUSE, and shows less.

The client's descriptor is one end of the pair ("theirs"), the host keeps the other ("ours"). The
kernel answers poll from the state of theirs: a byte to be received is POLLIN, an out-of-band byte
POLLPRI, room to send POLLOUT. Some changes need theirs: to take bytes back it must be received
from, to take away POLLOUT its buffer must be filled. Until it is handed over we have it; later it
is borrowed from a client for that moment and never kept, since the hang-up of ours means that the
clients' last descriptor is gone.

POLLHUP, POLLERR and POLLRDHUP are made by shutting ours down or closing it. They stay, and ours is
then no sign of the last close any more; so before that, one end of another pair goes as a message
(SCM_RIGHTS) into theirs, unread: the kernel drops it together with theirs, and our end of that pair
hangs up. From then on nothing may be received from theirs.

Used in the host's thread only.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator

from mapdev.host.embedded.syscalls.notify import Call
from mapdev.linux.numbers import (
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    EPOLLPRI,
    EPOLLRDBAND,
    EPOLLRDHUP,
    EPOLLRDNORM,
    EPOLLWRBAND,
    EPOLLWRNORM,
)

Borrow = Callable[[], int | None]
"""Returns a descriptor of the client's end, to be closed at once; None if none can be had."""

_READABLE = EPOLLIN | EPOLLRDNORM | EPOLLRDBAND
_WRITABLE = EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND
_LASTING = EPOLLHUP | EPOLLERR | EPOLLRDHUP
_FILL = bytes(2048)  # more than a quarter of the least send buffer: not writable then
_MUCH = 1 << 16
_ENOUGH_BYTES = 16  # to be received, before they are taken back


class Readiness:
    """The socketpair of one open file, and the poll mask that it shows.

    :ivar inode: the number of the client's end, by which /proc knows it.
    :ivar link: what /proc shows for its descriptors.
    :ivar tracker: what hangs up when the client's end is gone.
    :param moved: called when `tracker` changes, with the one before it, still open.
    :ivar edge: somebody wants an event at each wake-up, not only when the state changes.
    """

    __slots__ = (
        "_bytes",
        "_moved",
        "_ours",
        "_shown",
        "_theirs",
        "edge",
        "inode",
        "link",
        "tracker",
    )

    def __init__(self, moved: Callable[[Readiness, socket.socket], None]) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._theirs: socket.socket | None = theirs
        self.inode = os.fstat(theirs.fileno()).st_ino
        self.link = f"socket:[{self.inode}]"
        self.tracker = self._ours
        self._moved = moved
        self.edge = False
        self._shown = EPOLLOUT
        self._bytes = 0

    def put(self, call: Call, cloexec: bool, at: int | None) -> int:
        """Put the client's end into the client of `call`, see `Call.add_descriptor`."""
        assert self._theirs is not None
        return call.add_descriptor(self._theirs.fileno(), at, cloexec)

    def forget_theirs(self) -> None:
        """Close our copy of the client's end: from now on the client's are the only ones."""
        if self._theirs is not None:
            self._theirs.close()
            self._theirs = None

    def close(self) -> None:
        """Close all that is ours."""
        self.forget_theirs()
        self._ours.close()
        self.tracker.close()

    def show(self, mask: int, woken: bool, borrow: Borrow) -> None:
        """Make poll, select and epoll see the ``EPOLL*`` bits of `mask`.

        :param woken: a wait queue was woken, so an edge-triggered epoll is due for an event.
        """
        before = self._shown
        wanted = _normal(mask) | before & _LASTING
        with contextlib.suppress(OSError):  # the client's end is gone; its hang-up is on its way
            if wanted != before:
                self._change(wanted, borrow)
            if woken and self.edge:
                self._pulse(wanted & before, borrow)

    def _change(self, wanted: int, borrow: Borrow) -> None:
        gone, new = self._shown & ~wanted, wanted & ~self._shown
        if self._shown & _LASTING:
            gone &= ~(EPOLLIN | EPOLLPRI)  # POLLIN is implied, and the message must stay
        if gone:
            with self._client_end(borrow) as theirs:
                if theirs is None:
                    wanted |= gone  # it can't be taken back
                else:
                    if gone & (EPOLLIN | EPOLLPRI):
                        self._receive_all(theirs)
                        new |= wanted & (EPOLLIN | EPOLLPRI)
                    if gone & EPOLLOUT:
                        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
                        _send(theirs, _FILL)
        self._shown = wanted & ~_LASTING | self._shown & _LASTING
        if new & EPOLLOUT:
            _receive(self._ours)
        if new & EPOLLPRI:
            self._send_byte(socket.MSG_OOB)
        elif new & EPOLLIN:  # which an out-of-band byte implies
            self._send_byte()
        if new & _LASTING:
            self._hang_up(new, borrow)

    def _pulse(self, same: int, borrow: Borrow) -> None:
        """Give whoever waits for an edge another event for the bits that stay as they were."""
        crowded = self._bytes >= _ENOUGH_BYTES and not self._shown & _LASTING
        if crowded or same & EPOLLOUT:
            with self._client_end(borrow) as theirs:
                if theirs is not None and crowded:
                    self._receive_all(theirs)
                    if self._shown & EPOLLPRI:
                        self._send_byte(socket.MSG_OOB)
                if theirs is not None and same & EPOLLOUT:
                    _send(theirs, b"\0")
                    _receive(self._ours)  # room again: an event
        if same & (EPOLLIN | EPOLLPRI):
            self._send_byte()

    def _hang_up(self, new: int, borrow: Borrow) -> None:
        if not self._shown & _LASTING:
            self._track_otherwise()
            with self._client_end(borrow) as theirs:
                if theirs is not None:
                    _send(theirs, b"\0")  # unread when ours is closed: that is POLLERR
        self._shown |= new & _LASTING
        if new & EPOLLERR:
            self._ours.close()
        else:
            self._ours.shutdown(socket.SHUT_RDWR if new & EPOLLHUP else socket.SHUT_WR)

    def _track_otherwise(self) -> None:
        """Make another pair tell when the client's end is gone."""
        tracker, dropped = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with dropped:
            socket.send_fds(self._ours, [b"\0"], [dropped.fileno()], socket.MSG_DONTWAIT)
        self.tracker = tracker
        self._moved(self, self._ours)

    @contextlib.contextmanager
    def _client_end(self, borrow: Borrow) -> Iterator[socket.socket | None]:
        """Give the client's end for a moment, None if it can't be had."""
        if self._theirs is not None:
            yield self._theirs
            return
        fd = borrow()
        if fd is None:
            yield None
            return
        # With family and type given, nothing is asked of the kernel.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd) as theirs:
            yield theirs

    def _send_byte(self, flags: int = 0) -> None:
        if _send(self._ours, b"\0", flags):
            self._bytes += 1

    def _receive_all(self, theirs: socket.socket) -> None:
        with contextlib.suppress(OSError):  # EINVAL: there is no out-of-band byte
            theirs.recv(1, socket.MSG_OOB | socket.MSG_DONTWAIT)
        while _receive(theirs):
            pass
        self._bytes = 0


def _normal(mask: int) -> int:
    """Return the bits that can be shown, one for each thing."""
    return (
        (EPOLLIN if mask & _READABLE else 0)
        | (EPOLLOUT if mask & _WRITABLE else 0)
        | mask & (EPOLLPRI | _LASTING)
    )


def _send(end: socket.socket, data: bytes, flags: int = 0) -> int:
    """Send what there is room for."""
    try:
        return end.send(data, flags | socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except BlockingIOError:
        return 0


def _receive(end: socket.socket) -> bytes:
    """Receive what there is."""
    try:
        return end.recv(_MUCH, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""
