"""Open files: what a descriptor in a client stands for.

In the client a device's descriptor is one end of a socketpair; the host keeps the other. The
kernel then tracks dup, fork, exec, SCM_RIGHTS and exit for us: a hang-up at our end means that
the last descriptor is gone. Which file a descriptor number means is read from /proc/TID/fd each
time, so it is true whatever the client did to its descriptors.

Objects: an `OpenFile` lives until its last descriptor and its last mapping (`Lease`) are gone; then
the driver's release runs. Called in the host's thread only.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from mapdev.host.device import Device
from mapdev.linux.fs import File
from mapdev.linux.numbers import EPOLLIN, EPOLLPRI


class OpenFile:
    """An open file (``struct file``) of a device and the socket by which it is tracked.

    :ivar path_only: opened with O_PATH: it can be passed on and looked at, not used.
    :ivar mappings: how many leases refer to it.
    """

    __slots__ = ("_theirs", "device", "file", "has_descriptor", "link", "mappings", "ours",
                 "path_only", "readable")  # fmt: skip

    def __init__(self, device: Device, file: File, path_only: bool = False) -> None:
        self.device = device
        self.file = file
        self.path_only = path_only
        self.has_descriptor = True
        self.mappings = 0
        self.readable = 0
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.link = f"socket:[{os.fstat(theirs.fileno()).st_ino}]"
        self._theirs: socket.socket | None = theirs

    def hand_over(self) -> int:
        """Return the client's end, to be put into a client and then `forget_theirs`."""
        assert self._theirs is not None
        return self._theirs.fileno()

    def forget_theirs(self) -> None:
        """Close our copy of the client's end: from now on the client's are the only ones."""
        if self._theirs is not None:
            self._theirs.close()
            self._theirs = None

    def show(self, mask: int) -> None:
        """Make poll, select and epoll see `mask`: one byte in the socket is POLLIN, one
        out-of-band byte POLLPRI; POLLOUT is the socket's own."""
        wanted = mask & (EPOLLIN | EPOLLPRI)
        new = wanted & ~self.readable
        try:
            if new & EPOLLIN:
                self.ours.send(b"\0", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            if new & EPOLLPRI:
                self.ours.send(b"\0", socket.MSG_OOB | socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            return  # the client's end is gone; its hang-up is on its way
        self.readable |= new

    def close(self) -> None:
        """Close both ends."""
        self.forget_theirs()
        self.ours.close()


class Files:
    """All open files, by the link that /proc shows for their descriptors."""

    def __init__(self) -> None:
        self._by_link: dict[str, OpenFile] = {}

    def __len__(self) -> int:
        return len(self._by_link)

    def __iter__(self) -> Iterator[OpenFile]:
        return iter(list(self._by_link.values()))

    def add(self, file: OpenFile) -> None:
        """Make `file` known."""
        self._by_link[file.link] = file

    def discard(self, file: OpenFile) -> None:
        """Forget `file`, which no descriptor means any more."""
        self._by_link.pop(file.link, None)

    def at(self, tid: int, fd: int) -> OpenFile | None:
        """Return the open file that descriptor `fd` of thread `tid` means, if it is a device's."""
        if not self._by_link:
            return None
        try:
            return self._by_link.get(os.readlink(f"/proc/{tid}/fd/{fd}"))
        except OSError:
            return None
