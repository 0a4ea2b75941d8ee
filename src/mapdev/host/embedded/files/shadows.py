"""`Shadows` lets inotify tell clients of names that come and go, and of what is done with them.

inotify looks at real directories. So a directory of the tree that a client watches has a *shadow*:
a directory of the host's, with a small file for each name, which the client's inotify instance
watches in its place. Names that come and go in the tree come and go there, and so do those of the
real directory, if there is one. A node or an attribute that is watched has a file of its own, a
link to that in the directory. What clients do with an open file of it the host does with its
shadow: it is opened, read, written and closed. An attribute's is written to at `sysfs_notify`, too.

Objects: a shadow for each name that was ever watched, until it leaves the tree or the host ends;
all lie in one directory, which is made with the first. Each open file of such a name has a
descriptor of its shadow. Names are changed in any thread, under the host's lock; all else is used
in the host's thread.

Source: inotify(7), fs/notify/fsnotify.c, fs/kernfs/file.c (kernfs_notify_workfn),
include/linux/fsnotify.h
Fidelity: of nodes in /dev that are there for real only IN_CREATE and IN_DELETE are told, to who
watches the directory. IN_CLOSE of the last close may come a moment after it.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import struct
from collections.abc import Iterable

from mapdev.host.core.device import Device
from mapdev.host.core.files import OpenFile as CoreFile
from mapdev.host.embedded.files.open_file import OpenFile
from mapdev.host.embedded.files.overlay import Overlay
from mapdev.host.embedded.libc import inotify_of
from mapdev.host.embedded.processes import writable_place
from mapdev.host.embedded.watcher import Watcher
from mapdev.linux.fs import FMODE_READ, FMODE_WRITE
from mapdev.linux.kernfs import KernfsNode

_CREATE, _DELETE, _MOVED_FROM, _MOVED_TO = 0x100, 0x200, 0x40, 0x80
_IS_DIRECTORY = 0x40000000
_EVENT = struct.Struct("<iIII")


class Shadows:
    """What inotify looks at in place of the tree.

    :param overlay: the tree, merged with what is really there.
    :param watcher: tells of changes in real directories.
    :ivar opened: descriptors of shadows of clients' open files.
    """

    def __init__(self, overlay: Overlay, watcher: Watcher) -> None:
        self._overlay = overlay
        self._watcher = watcher
        self._base = ""
        self._paths: dict[KernfsNode, str] = {}
        self._files: dict[KernfsNode, int] = {}  # to read and write, told to no directory
        self._watched: set[KernfsNode] = set()
        self.opened: dict[CoreFile, int] = {}
        self._real: dict[KernfsNode, int] = {}  # inotify instances of ours
        overlay.root.watchers.append(self._changed)
        overlay.root.notified.append(self._notified)

    def path(self, node: KernfsNode, files: Iterable[OpenFile]) -> str:
        """Return the path of what inotify is to watch in place of a name of the tree.

        :param files: the open files that there are.
        """
        if node.is_directory and node not in self._paths:
            path = f"{self._place()}/{node.ino}"
            os.mkdir(path)
            self._fill(node, path)
            self._paths[node] = path
        elif not node.is_directory:
            self._file(node)
        if node not in self._watched:
            self._watched.add(node)
            for open_file in files:
                self.open(open_file)  # before anybody is told
        return self._paths[node]

    def _file(self, node: KernfsNode) -> str:
        """Return the path of the file of a name that is no directory."""
        if node not in self._paths:
            path = self._paths[node] = f"{self._place()}/{node.ino}"
            fd = self._files[node] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.write(fd, b"\0")
        return self._paths[node]

    # --- what clients do with it ------------------------------------------------------------

    def open(self, open_file: OpenFile) -> None:
        """Know that a client has opened a file, if its name or its directory is watched."""
        if not self._watched or open_file.path_only or open_file in self.opened:
            return
        node = self._overlay.nodes.get(open_file.device.node)
        if node is None or self._overlay.device(node) is not open_file.device:
            return
        if node.parent in self._watched and node.parent in self._paths:
            path = f"{self._paths[node.parent]}/{node.name}"
        elif node in self._watched:
            path = self._paths[node]
        else:
            return
        mode = open_file.file.f_mode
        how = os.O_RDONLY if not mode & FMODE_WRITE else os.O_WRONLY
        if mode & FMODE_READ and mode & FMODE_WRITE:
            how = os.O_RDWR
        with contextlib.suppress(OSError):  # there are too many: nobody is told
            self.opened[open_file] = os.open(path, how | os.O_CLOEXEC)

    def accessed(self, open_file: CoreFile) -> None:
        """Know that a client has read from a file."""
        if open_file in self.opened:
            os.pread(self._touched(open_file), 1, 0)

    def modified(self, open_file: CoreFile) -> None:
        """Know that a client has written to a file."""
        if open_file in self.opened:
            os.pwrite(self._touched(open_file), b"\0", 0)

    def _touched(self, open_file: CoreFile) -> int:
        """Return the descriptor by which a read or a write is told.

        Of a device who watches its directory is not told (fsnotify_file), of an attribute he is.
        """
        node = self._overlay.nodes.get(open_file.device.node)
        if node is not None and node in self._files and not stat.S_ISREG(node.mode):
            return self._files[node]
        return self.opened[open_file]

    def changed(self, device: Device) -> None:
        """Know that mode, owner or times of a name were set."""
        node = self._overlay.nodes.get(device.node) if self._watched else None
        if node is not None and node in self._paths and not node.is_directory:
            os.chmod(self._paths[node], 0o600)

    def closed(self, open_file: CoreFile) -> None:
        """Know that the last user of a file is gone."""
        fd = self.opened.pop(open_file, -1)
        if fd >= 0:
            os.close(fd)

    # --- names ------------------------------------------------------------------------------

    def _place(self) -> str:
        if not self._base:
            self._base = f"{writable_place()}/mapdev-{os.getpid()}-{id(self):x}"
            os.mkdir(self._base, 0o700)
        return self._base

    def _fill(self, node: KernfsNode, path: str) -> None:
        for child in list(node.children.values()):
            self._make_name(child, path)
        if self._overlay.is_merged(node):
            real = node.path
            mask = _CREATE | _DELETE | _MOVED_FROM | _MOVED_TO
            with contextlib.suppress(OSError):  # of changes there nobody is told then
                fd = inotify_of(real, mask)
                self._real[node] = fd
                self._watcher.register(
                    fd, select.EPOLLIN, lambda _: self._real_changed(node, path, fd)
                )
            for entry in os.scandir(real):
                if entry.name not in node.children:
                    _make(f"{path}/{entry.name}", entry.is_dir(follow_symlinks=False))

    def _make_name(self, node: KernfsNode, directory: str) -> None:
        """Show a name in the shadow of its directory."""
        if node.is_directory:
            _make(f"{directory}/{node.name}", True)
        else:
            with contextlib.suppress(OSError):
                os.link(self._file(node), f"{directory}/{node.name}")

    def _real_changed(self, node: KernfsNode, path: str, fd: int) -> None:
        """Repeat in a shadow what happened in the real directory."""
        with contextlib.suppress(BlockingIOError):
            data = os.read(fd, 1 << 16)
            at = 0
            while at < len(data):
                _, mask, _, size = _EVENT.unpack_from(data, at)
                at += _EVENT.size + size
                name = os.fsdecode(data[at - size : at].rstrip(b"\0"))
                if name in node.children:
                    continue
                if mask & (_CREATE | _MOVED_TO):
                    _make(f"{path}/{name}", bool(mask & _IS_DIRECTORY))
                else:
                    _remove(f"{path}/{name}")

    def _changed(self, node: KernfsNode, is_new: bool) -> None:
        above = self._paths.get(node.parent) if node.parent is not None else None
        if above is not None:
            if is_new:
                self._make_name(node, above)
            else:
                _remove(f"{above}/{node.name}")
        if not is_new and node in self._paths:
            path = self._paths.pop(node)
            self._watched.discard(node)
            if node.is_directory:
                for name in os.listdir(path):
                    _remove(f"{path}/{name}")
            elif node in self._files:
                os.close(self._files.pop(node))
            _remove(path)

    def _notified(self, node: KernfsNode) -> None:
        fd = self._files.get(node)
        if fd is not None:
            os.pwrite(fd, b"\0", 0)

    def close(self) -> None:
        """Remove all shadows."""
        for fd in (*self._real.values(), *self._files.values(), *self.opened.values()):
            os.close(fd)
        self.opened.clear()
        for path in self._paths.values():
            if os.path.isdir(path):
                for name in os.listdir(path):
                    _remove(f"{path}/{name}")
            _remove(path)
        if self._base:
            os.rmdir(self._base)
        self._paths.clear()


def _make(path: str, is_directory: bool) -> None:
    with contextlib.suppress(OSError):
        if is_directory:
            os.mkdir(path)
        else:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        if os.path.isdir(path):
            os.rmdir(path)
        else:
            os.unlink(path)
