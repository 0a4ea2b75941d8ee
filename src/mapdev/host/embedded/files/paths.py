"""`Paths` resolves a client's path, links and working directory included, to a device's node.

A path in a system call may be relative to the working directory or to a descriptor, go through
symbolic links, or lead through /proc to a descriptor that is already open. `Paths.find` answers
"no device" for nearly all paths with no more than one readlink(2); only where the last name is
that of a node, or is a link, or lies in /proc, is the path walked name by name. The other names
that only clients see (`Overlay`) are found in the same way.

Paths are those of the client's own root: a device at /dev/x is there for a client in a chroot too.
Called in the host's thread only.

Source: fs/namei.c (link_path_walk, walk_component)
Fidelity: what lies below a symbolic link to a node is ENOENT, not ENOTDIR, if the link is one that
no client has made and none has used as a device yet. The walk trusts names of directories that
don't exist, so a node may be put where there is no directory; the permissions of directories on the
way to a node are not checked.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from mapdev.host.core.device import Device
from mapdev.host.embedded.files.directories import Directories
from mapdev.host.embedded.files.lookups import Lookups
from mapdev.host.embedded.files.open_file import FileTable, OpenFile
from mapdev.host.embedded.files.overlay import Overlay
from mapdev.host.embedded.messages import Messages
from mapdev.host.embedded.mm.mappings import Mappings
from mapdev.host.embedded.processes import has_capability, yama_forbids
from mapdev.host.numbers import AT_FDCWD, CAP_SYS_ADMIN
from mapdev.linux.kernfs import KernfsNode
from mapdev.linux.numbers import PAGE_SIZE

PATH_MAX = 4096
MAX_LINKS = 40  # as in the kernel: MAXSYMLINKS
_OPEN_FILE = r"/proc/(\d+|self|thread-self)(?:/task/\d+)?/fd/(\d+)"
_MAPPED = r"/proc/(\d+|self|thread-self)/map_files/([0-9a-f]+)-([0-9a-f]+)"
PROC_LIKE = ("/proc/", "/dev/fd/", "/dev/std")
_ANY_DIRECTORY = (b"", b".", b"..")  # last names of paths that may lead to any directory


class Found(NamedTuple):
    """What a path means: a device's node, or a link in /proc to an open file of it.

    :ivar device: what describes it; of another name of the tree it is no character device.
    :ivar has_slash: there is a slash behind its name, which is for directories.
    :ivar directory: the directory of the tree that it is.
    :ivar path: by which *we* reach what exists for real: such a directory, or what `is_real`.
    :ivar is_real: nothing of ours, but the kernel can't find it, since the path starts from or
        goes through a directory or a link of ours.
    :ivar leaves: the same, of a directory that exists, with names of ours.
    """

    device: Device
    open_file: OpenFile | None = None
    has_slash: bool = False
    directory: KernfsNode | None = None
    path: str = ""
    is_real: bool = False
    leaves: bool = False

    @property
    def is_name(self) -> bool:
        """Whether it is a name of the tree, not a link in /proc."""
        return self.open_file is None and not self.is_real


class _Walk(NamedTuple):
    """How a walk ended.

    :ivar end: the path, in the client's root, to which it led.
    :ivar leaves: it went through a name of ours, so that the kernel can't go the same way.
    """

    found: Found | None
    end: str = ""
    leaves: bool = False


class Paths:
    """The nodes of all devices, and the walk that finds them.

    :param mappings: of devices; no path may lead to the physical memory behind them.
    :param read_user: reads a thread's memory: its number, address and size in bytes.
    :param messages: what the user is told of clients.
    :param overlay: the names that only clients see.
    :param directories: what stands for directories that are ours alone.
    :param lookups: reads links where that might be to wait.
    :ivar names: the last names of all that is ours alone.
    :ivar roots_differ: some client may have another root or mount namespace than we.
    """

    def __init__(
        self,
        files: FileTable,
        mappings: Mappings,
        read_user: Callable[[int, int, int], bytes],
        messages: Messages,
        overlay: Overlay,
        directories: Directories,
        lookups: Lookups,
    ) -> None:
        self._files = files
        self._forbidden = mappings.dev, mappings.inode
        self.overlay = overlay
        self.directories = directories
        self.lookups = lookups
        self._nodes = overlay.nodes
        self.names = overlay.names
        self._mapped = mappings.spaces.mapped
        self._read_user = read_user
        self._messages = messages
        self.roots_differ = False

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

    def find(
        self, tid: int, dirfd: int, path: str, follow: bool = True, listed: bool = False
    ) -> Found | None:
        """Return what `path` means to thread `tid`, or None when that is the kernel's to say.

        :param dirfd: what a relative path starts from, or AT_FDCWD.
        :param follow: follow a symbolic link in the last place.
        :param listed: a directory that exists, with names of ours, is wanted as well.
        :raises OSError: EACCES it leads through /proc to physical memory; ENOTDIR it goes on below
            a device.
        """
        parts = os.fsencode(path).rstrip(b"/").split(b"/")
        name = parts[-1]
        if (
            self.names.isdisjoint(parts)
            and not path.startswith(PROC_LIKE)
            and not (listed and (name in _ANY_DIRECTORY or name in self.overlay.merged))
            and not (self.directories.has_visitors and self._is_ours(tid, dirfd, path))
        ):
            if name in _ANY_DIRECTORY:
                return None
            try:
                self._readlink(tid, self.reach(tid, dirfd, path.rstrip("/")))
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
        walk = self._walk(tid, start, path, follow)
        found = walk.found
        is_merged = found and found.directory and self.overlay.is_merged(found.directory)
        if found is not None and not is_merged:
            return found
        leaves = walk.leaves or (self.directories.has_visitors and self._is_ours(tid, dirfd, path))
        if found is not None and listed:
            return found._replace(leaves=leaves)
        return self._real(self._root(tid) + walk.end, follow) if leaves else None

    def note_link(self, name: str, target: str) -> None:
        """Know a symbolic link called `name`, if it may lead to something of ours.

        From then on a path with that name in the middle is walked, too: what is below a device is
        ENOTDIR.
        """
        if not self.names.isdisjoint(os.fsencode(target).split(b"/")):
            self.overlay.note_link(os.fsencode(name))

    def note_moved(self, before: str, after: str) -> None:
        """Know that two names have been exchanged, or that one is another name of the other."""
        names = [os.fsencode(path).rstrip(b"/").rpartition(b"/")[2] for path in (before, after)]
        if not self.overlay.links.isdisjoint(names):
            for name in names:
                self.overlay.note_link(name)

    def _is_ours(self, tid: int, dirfd: int, path: str) -> bool:
        """Say whether a path starts from a directory that is ours alone."""
        if path.startswith("/"):
            return False
        link = f"/proc/{tid}/cwd" if dirfd == AT_FDCWD else f"/proc/{tid}/fd/{dirfd}"
        try:
            return os.readlink(link) in self.directories.by_link
        except OSError:
            return False

    def name_of_removed(self, tid: int, dirfd: int, path: str) -> str | None:
        """Return the path of a directory that is ours alone to which a link in /proc leads."""
        if not self.directories.by_link:
            return None
        try:
            link = self._readlink(tid, self.reach(tid, dirfd, path))
            node = self.directories.by_link.get(link)
        except (OSError, ValueError):
            return None
        return None if node is None else node.path

    def _real(self, path: str, follow: bool) -> Found:
        """Return what exists for real; ENOENT."""
        status = os.stat(path or "/", follow_symlinks=follow)
        return Found(Device.of_status(status, path), path=path or "/", is_real=True)

    def look(self, tid: int, function: Callable[[str], Any], path: str) -> Any:
        """Call stat, lstat or realpath with a path by which we reach a client's; see `Lookups`."""
        return self.lookups.look(tid, function, path, self.roots_differ)

    def _readlink(self, tid: int, path: str) -> str:
        return self.lookups.readlink(tid, path, self.roots_differ)

    def _root(self, tid: int) -> str:
        return f"/proc/{tid}/root" if self.roots_differ else ""

    def reach(self, tid: int, dirfd: int, path: str) -> str:
        """Return a path by which *we* reach what the client means by `path`."""
        if path.startswith("/proc/self/"):
            return f"/proc/{tid}/{path[11:]}"
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
        if start in self.directories.by_link:
            return self.directories.by_link[start].path
        return start if start.startswith("/") else ""

    def _walk(self, tid: int, start: str, path: str, follow: bool) -> _Walk:
        at = "" if path.startswith("/") else start.rstrip("/")
        names = path.split("/")[::-1]  # a stack: the next name is the last
        links = 0
        leaves = False
        root = self._root(tid)
        while names:
            name = names.pop()
            if name in ("", "."):
                continue
            if name == "..":
                at = at[: at.rfind("/")] if "/" in at else ""
                continue
            at = f"{at}/{name}"
            node = self._nodes.get(at)
            if node is not None and not node.is_directory:
                if not node.is_link or (not names and not follow):
                    return _Walk(_found(Found(self.overlay.device(node)), names))
                target: str | None = node.link_text()
                leaves = True
            else:
                leaves |= node is not None and not self.overlay.is_merged(node)
                open_file = self._open_file(tid, at)
                if open_file is not None:
                    return _Walk(_found(Found(open_file.device, open_file), names))
                is_end = not names and not follow  # a slash behind a link has it followed
                if is_end and node is None:
                    return _Walk(None, at, leaves)
                if at.startswith("/proc/"):
                    self._refuse_memory(root + at)
                target = self._link(tid, root, at)
                if target is None:
                    continue
                if is_end:
                    return _Walk(None, at, leaves)
                self.note_link(name, target)
            links += 1
            if links > MAX_LINKS:
                if leaves:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                return _Walk(None)
            assert target is not None
            at = "" if target.startswith("/") else at[: at.rfind("/")]
            names.extend(target.split("/")[::-1])
        node = self._nodes.get(at)
        if node is None:
            return _Walk(None, at, leaves)
        found = Found(self.overlay.device(node), directory=node, path=f"{root}{at}" or "/")
        return _Walk(found, at, leaves)

    def _refuse_memory(self, path: str) -> None:
        """Refuse a link in /proc (fd, map_files) to the file behind all mappings.

        Only what the link says to be a memfd is followed: our own FUSE mount, to which a descriptor
        of this process leads, would wait for us.
        """
        try:
            if not os.readlink(path).startswith("/memfd:"):
                return
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
            target = self._readlink(tid, root + path)
        except (OSError, ValueError):
            return None
        node = self.directories.by_link.get(target)
        return target if node is None else node.path


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
