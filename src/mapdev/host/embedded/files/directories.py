"""`Directories` opens directories that have names of ours in them, and lists them.

A client's descriptor of such a directory is put into the device range, where the filter hands
getdents64(2) over. For a directory that exists, it is a descriptor of that: all but listing works
as ever, with no help of ours. For one that is ours alone it is one of an empty directory of the
host, which is removed at once, so that nothing is left behind; a path that starts from it is known
by the link in /proc/PID/fd or /proc/PID/cwd.

How far a listing has come is kept where the kernel keeps it, in the position of the open file
description: dup, fork, seekdir and rewinddir are right without anything being noted. First come the
names that are really there, at the positions that their file system gives; behind them ours, at
positions from `_TOP` downwards, one for each name that the directory ever had. File systems count
from 0, or have hashes: sysfs of 31 bits, so that one of its names may, with bad luck (some 1 in
10**8), have a position of ours; ext4 of 63. `_TOP` is also the largest position that sysfs takes.

Objects: a removed directory for each that is ours alone and was ever opened, until its name leaves
the tree. Clients may keep it as their working directory; the last `_REMEMBERED` are still known by
their links then. Used in the host's thread, but that names leave in any, under the host's lock.

Source: fs/readdir.c
Fidelity: a directory that is ours alone can be listed even if it was opened with O_PATH.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Callable
from typing import NamedTuple

from mapdev.host.embedded.files.descriptors import FdAllocator
from mapdev.host.embedded.files.node import R_OK, may_access
from mapdev.host.embedded.files.overlay import Overlay
from mapdev.host.embedded.libc import fetch_descriptor, getdents64
from mapdev.host.embedded.processes import read_file, writable_place
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.linux.kernfs import KernfsNode

_TOP = (1 << 31) - 1
_REMEMBERED = 1000
_OWN_NAMES = 2  # . and .. of a directory that is ours alone
_MOST = 1 << 16  # bytes of one call; the caller asks again
_HEAD = struct.Struct("<QqHB")  # of struct linux_dirent64
_OLD_HEAD = struct.Struct("<QqH")  # of struct linux_dirent, whose last byte is the type


class _Entry(NamedTuple):
    """One name of a directory.

    :ivar after: the position behind it.
    """

    ino: int
    after: int
    kind: int
    name: bytes

    def pack(self, is_old: bool) -> bytes:
        """Return the record of getdents64, or of getdents."""
        size = -(-(_HEAD.size + len(self.name) + 1) // 8) * 8
        if is_old:
            head = _OLD_HEAD.pack(self.ino, self.after, size)
            return (head + self.name).ljust(size - 1, b"\0") + bytes([self.kind])
        head = _HEAD.pack(self.ino, self.after, size, self.kind)
        return (head + self.name).ljust(size, b"\0")


class Directories:
    """Descriptors of directories with names of ours.

    :param opened: called before a client has one that is ours alone.
    :ivar has_visitors: a client may have a directory that is ours alone as its working directory,
        or open: relative paths have to be looked at.
    """

    def __init__(
        self, overlay: Overlay, numbers: FdAllocator, opened: Callable[[], None]
    ) -> None:  # fmt: skip
        self._opened = opened
        overlay.root.watchers.append(self._changed)
        self._overlay = overlay
        self._numbers = numbers
        self._removed: dict[KernfsNode, int] = {}  # our descriptors
        self.by_link: dict[str, KernfsNode] = {}
        self.has_visitors = False

    def _changed(self, node: KernfsNode, is_new: bool) -> None:
        """Let go of the removed directory of a name that leaves the tree."""
        fd = None if is_new else self._removed.pop(node, None)
        if fd is not None:
            os.close(fd)
            while len(self.by_link) > len(self._removed) + _REMEMBERED:
                gone = (link for link, known in self.by_link.items() if not known.is_active)
                self.by_link.pop(next(gone))

    def open(self, call: Call, node: KernfsNode, path: str, flags: int) -> int:
        """Open a directory for the client and return its descriptor there.

        :param path: by which *we* reach it, if it exists for real.
        :param flags: ``O_*`` flags: it is opened for reading, or with O_PATH.
        :raises OSError: EACCES it may not be listed, EMFILE, or what the kernel says of the path.
        """
        self._numbers.check_limit(call.tid)
        if self._overlay.is_merged(node):
            fd = os.open(path, flags & os.O_NOATIME | os.O_DIRECTORY | os.O_CLOEXEC)
        else:
            device = self._overlay.device(node)
            if not flags & os.O_PATH and not may_access(device, call.tid, R_OK):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
            # A descriptor of O_PATH can't be given to a client.
            fd = os.open(f"/proc/self/fd/{self.own(node)}", os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            cloexec = bool(flags & os.O_CLOEXEC)
            return self._numbers.add(call, lambda at: call.add_descriptor(fd, at, cloexec))
        finally:
            os.close(fd)

    def own(self, node: KernfsNode) -> int:
        """Return our descriptor of the removed directory that stands for one that is ours alone."""
        if node not in self._removed:
            path = f"{writable_place()}/mapdev-{os.getpid()}-{node.ino}"
            os.mkdir(path, 0o700)
            try:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            finally:
                os.rmdir(path)
            os.fchmod(fd, 0o755)  # clients of other users go there, too
            self._removed[node] = fd
            self.by_link[os.readlink(f"/proc/self/fd/{fd}")] = node
            self.has_visitors = True
            self._opened()
        return self._removed[node]

    def node_of_link(self, link: str) -> KernfsNode | None:
        """Return the directory of the tree that a link in /proc to a directory means."""
        node = self.by_link.get(link)
        if node is None:
            node = self._overlay.nodes.get("" if link == "/" else link)
        return node if node is not None and node.is_directory else None

    def at(self, tid: int, fd: int) -> KernfsNode | None:
        """Return the directory of the tree that descriptor `fd` of thread `tid` means, if any."""
        try:
            link = os.readlink(f"/proc/{tid}/fd/{fd}")
            root = os.readlink(f"/proc/{tid}/root")
        except OSError:
            return None
        if root != "/" and link.startswith(f"{root}/"):
            link = link[len(root) :]
        return self.node_of_link(link)

    def ours_at(self, tid: int, fd: int) -> KernfsNode | None:
        """Return the directory that is ours alone which descriptor `fd` means, if any."""
        if not self.by_link:
            return None
        try:
            return self.by_link.get(os.readlink(f"/proc/{tid}/fd/{fd}"))
        except OSError:
            return None

    def close(self) -> None:
        """Let go of all removed directories."""
        for fd in self._removed.values():
            os.close(fd)
        self._removed.clear()
        self.by_link.clear()

    # --- listing --------------------------------------------------------------------------

    def read(self, call: Call, node: KernfsNode, fd: int, size: int, is_old: bool) -> Listing:
        """Return what getdents64 gives of a directory, `size` bytes at most.

        :param is_old: as getdents gives it.
        :raises OSError: EINVAL not even one name fits in, or whatever the kernel says.
        """
        listing = Listing(call.tid, fd, node)
        try:
            self._list(listing, node, min(size, _MOST), is_old)
        except BaseException:
            listing.close()
            raise
        return listing

    def _list(self, listing: Listing, node: KernfsNode, size: int, is_old: bool) -> None:
        position = listing.position
        if not _is_ours(node, position):
            while self._overlay.is_merged(node) and not listing.data:
                real = _real(listing, size)
                if not real:
                    break
                for entry in real:
                    child = node.children.get(os.fsdecode(entry.name))
                    if child is None or self._overlay.is_merged(child):
                        listing.data += entry.pack(is_old)
                listing.end = real[-1].after
            if listing.data:
                return
            position = _TOP
        for entry in self._ours(node):
            if entry.after >= position:
                continue  # it was given before
            record = entry.pack(is_old)
            if len(listing.data) + len(record) > size:
                if not listing.data:
                    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
                break
            listing.data += record
            position = entry.after
        listing.end = position

    def _ours(self, node: KernfsNode) -> list[_Entry]:
        """Return the names of ours; in a directory that is ours alone that is all of them."""
        entries = []
        if not self._overlay.is_merged(node):
            above = node.parent or node
            entries = [
                _Entry(node.ino, _TOP - 1, _kind(node), b"."),
                _Entry(above.ino, _TOP - 2, _kind(above), b".."),
            ]
        for child in self._overlay.children(node):
            inode = self._overlay.device(child).inode
            after = _TOP - 1 - _OWN_NAMES - child.order
            entries.append(_Entry(inode.i_ino, after, inode.i_mode >> 12, os.fsencode(child.name)))
        return entries


def _is_ours(node: KernfsNode, position: int) -> bool:
    """Say whether a position is one behind a name of ours."""
    return _TOP - _OWN_NAMES - node.next_order <= position < _TOP


class Listing:
    """One call of getdents64: the client's open file description, and what it gets.

    :ivar position: of the description, when the call began.
    :ivar data: for the client.
    :ivar end: the position that the description is to get.
    :ivar is_borrowed: `own` is the client's description itself; if not, `end` has to be set there.
    """

    def __init__(self, tid: int, fd: int, node: KernfsNode) -> None:
        self.data = b""
        self.is_borrowed = True
        try:
            self.own = fetch_descriptor(tid, fd)
            self.position = os.lseek(self.own, 0, os.SEEK_CUR)
        except PermissionError:  # in a container, maybe
            self.is_borrowed = False
            text = read_file(f"/proc/{tid}/fdinfo/{fd}")
            self.position = int(text.split(b"pos:", 1)[1].split(None, 1)[0])
            path = f"/proc/{tid}/fd/{fd}"
            self.own = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if not _is_ours(node, self.position):
                os.lseek(self.own, self.position, os.SEEK_SET)
        self.end = self.position

    def commit(self) -> None:
        """Move the description behind what the client got; nothing if that is not `is_borrowed`."""
        if self.is_borrowed:
            os.lseek(self.own, self.end, os.SEEK_SET)

    def undo(self) -> None:
        """Put the description back where it was: the client could not be given the names."""
        with contextlib.suppress(OSError):
            os.lseek(self.own, self.position, os.SEEK_SET)

    def close(self) -> None:
        """Let go of the description."""
        os.close(self.own)


def _real(listing: Listing, size: int) -> list[_Entry]:
    """Return the next names that are really there; none at the end."""
    data = getdents64(listing.own, size)
    entries = []
    at = 0
    while at < len(data):
        ino, after, length, kind = _HEAD.unpack_from(data, at)
        name = data[at + _HEAD.size : at + length].partition(b"\0")[0]
        entries.append(_Entry(ino, after, kind, name))
        at += length
    return entries


def _kind(node: KernfsNode) -> int:
    return node.mode >> 12
