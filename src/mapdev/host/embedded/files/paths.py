"""`Paths` resolves a client's path, links and working directory included, to a device's node.

A path in a system call may be relative to the working directory or to a descriptor, go through
symbolic links, or lead through /proc to a descriptor that is already open. `Paths.find` answers
"no device" for nearly all paths with no more than one readlink(2); only where the last name is
that of a node, or is a link, or lies in /proc, is the path walked name by name.

Paths are those of the client's own root: a device at /dev/x is there for a client in a chroot too.
Called in the host's thread only.

Source: fs/namei.c (link_path_walk, walk_component)
Fidelity: what lies below a symbolic link to a node is ENOENT, not ENOTDIR. The walk trusts names of
directories that don't exist, so a node may be put where there is no directory; the permissions of
directories on the way to a node are not checked.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from typing import NamedTuple

from mapdev.host.core.device import Device
from mapdev.host.embedded.files.open_file import FileTable, OpenFile
from mapdev.host.embedded.messages import Messages
from mapdev.host.embedded.mm.mappings import Mappings
from mapdev.host.embedded.processes import has_capability, yama_forbids
from mapdev.host.numbers import AT_FDCWD, CAP_SYS_ADMIN
from mapdev.linux.numbers import PAGE_SIZE

PATH_MAX = 4096
MAX_LINKS = 40  # as in the kernel: MAXSYMLINKS
_OPEN_FILE = r"/proc/(\d+|self|thread-self)(?:/task/\d+)?/fd/(\d+)"
_MAPPED = r"/proc/(\d+|self|thread-self)/map_files/([0-9a-f]+)-([0-9a-f]+)"
PROC_LIKE = ("/proc/", "/dev/fd/", "/dev/std")


class Found(NamedTuple):
    """What a path means: a device's node, or a link in /proc to an open file of it.

    :ivar has_slash: there is a slash behind its name, which is for directories.
    """

    device: Device
    open_file: OpenFile | None = None
    has_slash: bool = False


class Paths:
    """The nodes of all devices, and the walk that finds them.

    :param mappings: of devices; no path may lead to the physical memory behind them.
    :param read_user: reads a thread's memory: its number, address and size in bytes.
    :param messages: what the user is told of clients.
    :ivar names: the last names of all nodes.
    :ivar inner: the same with a slash behind, as in a path that goes on below a node.
    :ivar roots_differ: some client may have another root or mount namespace than we.
    """

    def __init__(
        self,
        files: FileTable,
        mappings: Mappings,
        read_user: Callable[[int, int, int], bytes],
        messages: Messages,
    ) -> None:
        self._files = files
        self._forbidden = mappings.dev, mappings.inode
        self._nodes: dict[str, Device] = {}
        self.names: set[bytes] = set()
        self.inner: tuple[bytes, ...] = ()
        self._mapped = mappings.spaces.mapped
        self._read_user = read_user
        self._messages = messages
        self.roots_differ = False

    def add(self, device: Device) -> None:
        """Make the node of `device` appear."""
        self._nodes[device.node] = device
        self.names.add(os.fsencode(os.path.basename(device.node)))
        self.inner = tuple(name + b"/" for name in self.names)

    def read(self, tid: int, addr: int) -> str | None:
        """Return the path at `addr` in thread `tid`; None when it can't be read or is too long."""
        path = b""
        while len(path) < PATH_MAX:
            size = min(256, PAGE_SIZE - addr % PAGE_SIZE)
            try:
                piece = self._read_user(tid, addr, size)
            except OSError as error:
                if error.errno == errno.EPERM:
                    why = yama_forbids() or "does it run as another user than mapdev?"
                    text = f"its memory can't be read ({why}), so it sees no devices"
                    self._messages.say_once("unreadable", tid, text)
                return None
            end = piece.find(b"\0")
            if end >= 0:
                return os.fsdecode(path + piece[:end])
            path += piece
            addr += size
        return None

    def find(self, tid: int, dirfd: int, path: str, follow: bool = True) -> Found | None:
        """Return what `path` means to thread `tid`, or None when it is no device.

        :param dirfd: what a relative path starts from, or AT_FDCWD.
        :param follow: follow a symbolic link in the last place.
        :raises OSError: EACCES it leads through /proc to physical memory; ENOTDIR it goes on below
            a device.
        """
        raw = os.fsencode(path)
        name = raw.rstrip(b"/").rpartition(b"/")[2]
        if (
            name not in self.names
            and not path.startswith(PROC_LIKE)
            and not any(inner in raw for inner in self.inner)
        ):
            if name in (b"", b".", b".."):
                return None
            try:
                os.readlink(self.reach(tid, dirfd, path.rstrip("/")))
            except (OSError, ValueError):
                return None  # no link and not a node's name: nothing that could lead to one
            if not follow and not path.endswith("/"):
                return None
        if path.startswith("/"):
            start = "/"
        else:
            start = self._directory(tid, dirfd)
            if not start:
                return None
        return self._walk(tid, start, path, follow)

    def _root(self, tid: int) -> str:
        return f"/proc/{tid}/root" if self.roots_differ else ""

    def reach(self, tid: int, dirfd: int, path: str) -> str:
        """Return a path by which *we* reach what the client means by `path`."""
        if path.startswith("/"):
            return self._root(tid) + path
        start = "cwd" if dirfd == AT_FDCWD else f"fd/{dirfd}"
        return f"/proc/{tid}/{start}/{path}"

    def _directory(self, tid: int, dirfd: int) -> str:
        """Return the path, in the client's root, that relative paths start from."""
        try:
            start = os.readlink(
                f"/proc/{tid}/cwd" if dirfd == AT_FDCWD else f"/proc/{tid}/fd/{dirfd}"
            )
            root = os.readlink(f"/proc/{tid}/root") if self.roots_differ else "/"
        except OSError:
            return ""
        if root != "/" and start.startswith(root):
            start = start[len(root) :] or "/"
        return start if start.startswith("/") else ""

    def _walk(self, tid: int, start: str, path: str, follow: bool) -> Found | None:
        at = "" if path.startswith("/") else start.rstrip("/")
        names = path.split("/")[::-1]  # a stack: the next name is the last
        links = 0
        root = self._root(tid)
        while names:
            name = names.pop()
            if name in ("", "."):
                continue
            if name == "..":
                at = at[: at.rfind("/")] if "/" in at else ""
                continue
            at = f"{at}/{name}"
            if at in self._nodes:
                return _found(Found(self._nodes[at]), names)
            open_file = self._open_file(tid, at)
            if open_file is not None:
                return _found(Found(open_file.device, open_file), names)
            if not names and not follow:  # a slash behind a link has it followed
                return None
            if at.startswith("/proc/"):
                self._refuse_memory(root + at)
            target = self._link(tid, root, at)
            if target is None:
                continue
            links += 1
            if links > MAX_LINKS:
                return None
            at = "" if target.startswith("/") else at[: at.rfind("/")]
            names.extend(target.split("/")[::-1])
        return None

    def _refuse_memory(self, path: str) -> None:
        """Refuse a link in /proc (fd, map_files) to the file behind all mappings."""
        try:
            status = os.stat(path)
        except OSError:
            return
        if (status.st_dev, status.st_ino) == self._forbidden:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    def _open_file(self, tid: int, path: str) -> OpenFile | None:
        """Return the device's open file to which a link in /proc/PID/fd or map_files leads."""
        if not path.startswith("/proc/"):
            return None
        match = re.fullmatch(_OPEN_FILE, path)
        if match is not None:
            return self._files.at(_process(tid, match[1]), int(match[2]))
        match = re.fullmatch(_MAPPED, path)
        if match is not None and has_capability(tid, CAP_SYS_ADMIN):
            return self._mapped(_process(tid, match[1]), int(match[2], 16), int(match[3], 16))
        return None

    def _link(self, tid: int, root: str, path: str) -> str | None:
        """Return the target of the symbolic link `path` of the client, None when it is none."""
        if path == "/proc/self":
            return str(tid)
        if path == "/proc/thread-self":
            return f"{tid}/task/{tid}"
        try:
            return os.readlink(root + path)
        except (OSError, ValueError):
            return None


def _found(found: Found, rest: list[str]) -> Found:
    """Return a device that was found before the names in `rest`.

    :raises OSError: ENOTDIR there are any, be it "." or "..".

    Source: fs/namei.c (link_path_walk)
    """
    if any(rest):
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return found._replace(has_slash=bool(rest))


def _process(tid: int, name: str) -> int:
    return tid if name in ("self", "thread-self") else int(name)
