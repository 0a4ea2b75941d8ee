"""`OpenFile` is a device's open file; a file of the kernel ties it to the descriptors of clients.

In the client a device's descriptor is that of a file of a FUSE mount (`device_files`), or one end
of a socketpair (`readiness`). The kernel then tracks dup, fork, exec, SCM_RIGHTS and exit for us,
and tells when the last descriptor is gone. Which file a descriptor number means is read from
/proc/TID/fd each time, so it is true whatever the client did to its descriptors.

Objects: an `OpenFile` lives until its last descriptor and its last mapping (`Lease`) are gone and
no call of it waits; then the driver's release runs. Called in the host's thread only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from mapdev.host.core.device import Device
from mapdev.host.core.files import OpenFile as CoreFile
from mapdev.host.embedded.files.device_files import Node
from mapdev.host.embedded.files.readiness import Readiness
from mapdev.host.embedded.libc import fetch_descriptor, link_of
from mapdev.linux.fs import File


class OpenFile(CoreFile):
    """An open file (``struct file``) of a device and what clients have of it.

    :param unused: called with the file when its last use has ended.
    :ivar path_only: opened with O_PATH: it can be passed on and looked at, not used.
    :ivar ready: what clients have a descriptor of; None before it is put into one.
    :ivar seen: the thread that used it last, and the descriptor's number there; None when nobody
        is known to have it.
    """

    __slots__ = ("path_only", "ready", "seen")

    def __init__(
        self,
        device: Device,
        file: File,
        path_only: bool,
        unused: Callable[[OpenFile], None],
    ) -> None:
        super().__init__(device, file, unused)
        self.path_only = path_only
        self.seen: tuple[int, int] | None = None
        self.ready: Node | Readiness | None = None

    @property
    def link(self) -> str:
        """What /proc shows for its descriptors, empty if there was none."""
        return self.ready.link if self.ready is not None else ""

    def watch_edges(self) -> None:
        """Show an event at each wake-up, not only when the mask changes."""
        if isinstance(self.ready, Readiness):
            self.ready.edge = True

    def borrow(self) -> int | None:
        """Return a descriptor of the client's socket, to be closed at once; None if nobody has it.

        :raises PermissionError: a client has it, and the kernel refuses to give it.
        """
        if self.seen is None:
            return None
        number = self._fetch(*self.seen)
        if number is None:
            self.seen = self._search()
            number = self._fetch(*self.seen) if self.seen else None
        return number

    def _fetch(self, tid: int, fd: int) -> int | None:
        try:
            number = fetch_descriptor(tid, fd)
        except PermissionError:
            if _link(tid, fd) == self.link:
                raise
            return None
        except OSError:
            return None
        if isinstance(self.ready, Readiness) and os.fstat(number).st_ino == self.ready.inode:
            return number
        os.close(number)
        return None

    def _search(self) -> tuple[int, int] | None:
        """Look through all processes for one that has the file: the last user has lost it."""
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                for fd in os.listdir(f"/proc/{name}/fd"):
                    if _link(int(name), int(fd)) == self.link and int(name) != os.getpid():
                        return int(name), int(fd)
        return None


def _link(tid: int, fd: int) -> str:
    try:
        return link_of(tid, fd)
    except OSError:
        return ""


class FileTable:
    """All open files, by the link that /proc shows for their descriptors.

    :param opened: called before the first descriptor of a file is in a client.
    :ivar by_link: the files, by that link.
    """

    def __init__(self, opened: Callable[[], None]) -> None:
        self._opened = opened
        self.by_link: dict[str, OpenFile] = {}

    def __len__(self) -> int:
        return len(self.by_link)

    def __iter__(self) -> Iterator[OpenFile]:
        return iter(list(self.by_link.values()))

    def add(self, file: OpenFile) -> None:
        """Make `file` known."""
        self.by_link[file.link] = file
        self._opened()

    def discard(self, file: OpenFile) -> None:
        """Forget `file`, which no descriptor means any more."""
        self.by_link.pop(file.link, None)

    def at(self, tid: int, fd: int) -> OpenFile | None:
        """Return the open file that descriptor `fd` of thread `tid` means, if it is a device's."""
        if not self.by_link:
            return None
        try:
            found = self.by_link.get(link_of(tid, fd))
        except OSError:
            return None
        if found is not None and found.seen != (tid, fd):
            if found.seen is None:
                found.mask = None  # what poll shows could not be changed: now it can
            found.seen = tid, fd
        return found
