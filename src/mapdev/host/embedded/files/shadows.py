"""`Shadows` lets inotify tell clients of names that come and go, and of attributes that change.

inotify looks at real directories. So a directory of the tree that a client watches has a *shadow*:
a directory of the host's, with an empty file for each name, which the client's inotify instance
watches in its place. Names that come and go in the tree come and go there, and so do those of the
real directory, if there is one. An attribute has a file that is written to at `sysfs_notify`.

Objects: a shadow for each name that was ever watched, until it leaves the tree or the host ends;
all lie in one directory, which is made with the first. Names are changed in any thread, under the
host's lock; all else is used in the host's thread.

Source: inotify(7), fs/notify/fsnotify.c, fs/kernfs/file.c (kernfs_notify_workfn)
Fidelity: told are IN_CREATE, IN_DELETE, IN_DELETE_SELF and, of attributes at sysfs_notify,
IN_MODIFY; not who opens, reads and writes.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct

from mapdev.host.embedded.files.overlay import Overlay
from mapdev.host.embedded.libc import inotify_of
from mapdev.host.embedded.processes import writable_place
from mapdev.host.embedded.watcher import Watcher
from mapdev.linux.kernfs import KernfsNode

_CREATE, _DELETE, _MOVED_FROM, _MOVED_TO = 0x100, 0x200, 0x40, 0x80
_IS_DIRECTORY = 0x40000000
_EVENT = struct.Struct("<iIII")


class Shadows:
    """What inotify looks at in place of the tree.

    :param overlay: the tree, merged with what is really there.
    :param watcher: tells of changes in real directories.
    """

    def __init__(self, overlay: Overlay, watcher: Watcher) -> None:
        self._overlay = overlay
        self._watcher = watcher
        self._base = ""
        self._paths: dict[KernfsNode, str] = {}
        self._files: dict[KernfsNode, int] = {}  # of attributes, to write to
        self._real: dict[KernfsNode, int] = {}  # inotify instances of ours
        overlay.root.watchers.append(self._changed)
        overlay.root.notified.append(self._notified)

    def path(self, node: KernfsNode) -> str:
        """Return the path of what inotify is to watch in place of a name of the tree."""
        if node not in self._paths:
            path = f"{self._place()}/{node.ino}"
            if node.is_directory:
                os.mkdir(path)
                self._fill(node, path)
            else:
                self._files[node] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._paths[node] = path
        return self._paths[node]

    def _place(self) -> str:
        if not self._base:
            self._base = f"{writable_place()}/mapdev-{os.getpid()}-{id(self):x}"
            os.mkdir(self._base, 0o700)
        return self._base

    def _fill(self, node: KernfsNode, path: str) -> None:
        for child in list(node.children.values()):
            _make(f"{path}/{child.name}", child.is_directory)
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
                _make(f"{path}/{entry.name}", entry.is_dir(follow_symlinks=False))

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
                _make(f"{above}/{node.name}", node.is_directory)
            else:
                _remove(f"{above}/{node.name}")
        if not is_new and node in self._paths:
            path = self._paths.pop(node)
            if node.is_directory:
                for name in os.listdir(path):
                    _remove(f"{path}/{name}")
            else:
                os.close(self._files.pop(node))
            _remove(path)

    def _notified(self, node: KernfsNode) -> None:
        fd = self._files.get(node)
        if fd is not None:
            os.pwrite(fd, b"\0", 0)

    def close(self) -> None:
        """Remove all shadows."""
        for fd in (*self._real.values(), *self._files.values()):
            os.close(fd)
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
