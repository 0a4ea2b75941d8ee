"""`AttributeFile` serves the file of an attribute to programs, with the rules of sysfs.

A read from offset 0 calls ``show``; what does not fit into the program's buffer is kept with the
open file for the reads that follow. A write calls ``store`` once, with a page at most, whatever the
offset. `BinaryFile` hands offset and size on. All of it is what kernfs and seq_file do, so a host
only has to carry the calls. An object lives as long as its name in the tree, or as files of it are
open; when the name is gone, they get ENODEV.

Source: fs/kernfs/file.c, fs/sysfs/file.c, fs/seq_file.c, fs/libfs.c
"""

from __future__ import annotations

import errno
import os
from typing import Any

from mapdev.driver import DEFAULT_POLLMASK, Driver
from mapdev.linux.context import WouldBlock, as_bytes
from mapdev.linux.fs import FMODE_READ, FMODE_WRITE, File, Inode
from mapdev.linux.kernfs import KernfsNode
from mapdev.linux.log import log
from mapdev.linux.numbers import (
    EPOLLERR,
    EPOLLPRI,
    PAGE_SIZE,
    SEEK_CUR,
    SEEK_DATA,
    SEEK_END,
    SEEK_HOLE,
    SEEK_SET,
)
from mapdev.linux.sysfs import Attribute, AttributeNode, BinAttribute
from mapdev.linux.vma import VmAreaStruct
from mapdev.linux.wait import poll_wait

__all__ = [
    "AttributeFile", "BinaryFile", "TextFile", "bin_read", "bin_write", "serve_attribute", "show",
    "store",
]  # fmt: skip

_MAX_OFFSET = (1 << 63) - 1


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


# --- attributes, asked ------------------------------------------------------------------------


def _asked(node: KernfsNode) -> AttributeNode:
    """Return what is behind a name that is there still."""
    if not node.is_active:
        raise _error(errno.ENODEV)
    of: AttributeNode = node.priv
    return of


def _ask(function: Any, *args: Any) -> Any:
    """Call an attribute's function; EAGAIN is an errno as any other, here as -EAGAIN.

    In an operation of a driver it would mean that the call waits; one that is to wait in ``show``
    says `wait_event_interruptible`.
    """
    try:
        return function(*args)
    except BlockingIOError as error:
        if isinstance(error, WouldBlock):
            raise
        return -errno.EAGAIN


def show(node: KernfsNode) -> bytes | int:
    """Call ``show``; gives its text, cut to what fits into a page, or -errno.

    :raises OSError: ENODEV the name is gone, EIO there is no such function, or what it raised.

    Source: fs/sysfs/file.c (sysfs_kf_seq_show)
    """
    of = _asked(node)
    attr = of.attr
    assert isinstance(attr, Attribute)
    if attr.show is None:
        raise _error(errno.EIO)
    text: Any = _ask(attr.show, of.kobj.of, attr)
    if isinstance(text, int) and not isinstance(text, bool) and text < 0:
        return int(text)
    data = text.encode() if isinstance(text, str) else bytes(as_bytes(text))
    if len(data) >= PAGE_SIZE:
        log.error("fill_read_buffer: %s returned bad count", node.path)
        data = data[: PAGE_SIZE - 1]
    return data


def store(node: KernfsNode, data: bytes) -> Any:
    """Call ``store`` with a page at most; gives how many bytes it says that it took.

    :raises OSError: as for `show`.

    Source: fs/sysfs/file.c (sysfs_kf_write)
    """
    of = _asked(node)
    attr = of.attr
    assert isinstance(attr, Attribute)
    if attr.store is None:
        raise _error(errno.EIO)
    taken = _ask(attr.store, of.kobj.of, attr, data)
    return len(data) if taken is None else taken


def bin_read(node: KernfsNode, pos: int, count: int) -> Any:
    """Call ``read`` of a binary attribute; gives what it returned.

    :raises OSError: as for `show`.

    Source: fs/sysfs/file.c (sysfs_kf_bin_read)
    """
    of = _asked(node)
    attr = of.attr
    assert isinstance(attr, BinAttribute)
    if attr.read is None:
        raise _error(errno.EIO)
    return _ask(attr.read, of.kobj.of, attr, pos, count)


def bin_write(node: KernfsNode, data: bytes, pos: int) -> Any:
    """Call ``write`` of a binary attribute; gives how many bytes it says that it took.

    :raises OSError: as for `show`.

    Source: fs/sysfs/file.c (sysfs_kf_bin_write)
    """
    of = _asked(node)
    attr = of.attr
    assert isinstance(attr, BinAttribute)
    if attr.write is None:
        raise _error(errno.EIO)
    taken = _ask(attr.write, of.kobj.of, attr, data, pos)
    return len(data) if taken is None else taken


# --- their files ------------------------------------------------------------------------------


class _Reader:
    """Keeps an open file's text between reads: ``struct seq_file`` and ``kernfs_open_file``.

    :ivar left: what was not read yet.
    :ivar at: the offset at which it goes on.
    :ivar is_shown: ``show`` was called for this text.
    :ivar event: the state of the attribute when it was read last; 0 never.
    """

    __slots__ = ("at", "event", "is_shown", "left")

    def __init__(self) -> None:
        self.left = b""
        self.at = 0
        self.is_shown = False
        self.event = 0


class _NameFile(Driver):
    """The base of all files of the tree: seeks as in a regular file, and has fsync."""

    def __init__(self, node: KernfsNode) -> None:
        self.node = node

    def llseek(self, file: File, offset: int, whence: int) -> int:
        """Seek as in a file of the size that stat shows.

        Source: fs/read_write.c (generic_file_llseek)
        """
        size = self.node.size
        if whence == SEEK_CUR:
            offset += file.f_pos
        elif whence == SEEK_END:
            offset += size
        elif whence in (SEEK_DATA, SEEK_HOLE):
            if not 0 <= offset < size:
                raise _error(errno.ENXIO)
            offset = size if whence == SEEK_HOLE else offset
        elif whence != SEEK_SET:
            raise _error(errno.EINVAL)
        if not 0 <= offset <= _MAX_OFFSET:
            raise _error(errno.EINVAL)
        file.f_pos = offset
        return offset

    def fsync(self, file: File, start: int, end: int, datasync: bool) -> None:
        """Do nothing: there is nothing to be kept (noop_fsync)."""


class AttributeFile(_NameFile):
    """Serves a text attribute.

    :param node: its name in the tree.
    """

    name = "attribute"

    def __init__(self, node: KernfsNode) -> None:
        super().__init__(node)
        self.of: AttributeNode = node.priv

    def open(self, inode: Inode, file: File) -> None:
        """Refuse what the mode does not allow, to root as well.

        Source: fs/kernfs/file.c (kernfs_fop_open)
        """
        _check_open(self.node, inode, file)
        file.private_data = _Reader()

    def _show(self, reader: _Reader) -> bytes | int:
        _asked(self.node)
        reader.event = self.of.event
        return show(self.node)

    def read(self, file: File, count: int, pos: int) -> Any:
        """Return the text from offset `pos`; ``show`` is called anew at 0, and after a jump.

        Source: fs/seq_file.c (seq_read_iter, traverse)
        """
        reader: _Reader = file.private_data
        if not count:
            return b""
        if pos == 0:
            reader.left, reader.is_shown = b"", False
        if pos != reader.at:
            reader.left, reader.is_shown, reader.at = b"", False, 0
            if pos:
                text = self._show(reader)
                if isinstance(text, int):
                    return text
                reader.left = text[pos:]
                reader.is_shown = True
            reader.at = pos
        data, reader.left = reader.left[:count], reader.left[count:]
        if len(data) < count and not reader.is_shown:
            text = self._show(reader)
            if isinstance(text, int):
                return data or text
            reader.is_shown = True
            rest = count - len(data)
            data, reader.left = data + text[:rest], text[rest:]
        reader.at += len(data)
        return data

    def write(self, file: File, data: bytes, pos: int) -> int:
        """Call ``store`` with what was written, a page at most; the offset does not matter.

        Source: fs/kernfs/file.c (kernfs_fop_write_iter), fs/sysfs/file.c (sysfs_kf_write)
        """
        _asked(self.node)
        data = bytes(data[:PAGE_SIZE])
        taken: int = store(self.node, data) if data else 0
        return taken

    def poll(self, file: File) -> int:
        """Say EPOLLPRI and EPOLLERR if something happened since the attribute was read.

        Source: fs/kernfs/file.c (kernfs_generic_poll)
        """
        poll_wait(file, self.of.queue)
        if self.node.is_active and file.private_data.event == self.of.event:
            return DEFAULT_POLLMASK
        return DEFAULT_POLLMASK | EPOLLERR | EPOLLPRI


class BinaryFile(_NameFile):
    """Serves a binary attribute.

    :param node: its name in the tree.
    """

    name = "bin_attribute"

    def __init__(self, node: KernfsNode) -> None:
        super().__init__(node)
        self.of: AttributeNode = node.priv
        self.attr: BinAttribute = self.of.attr

    def open(self, inode: Inode, file: File) -> None:
        """Refuse what the mode does not allow, and what there is no function for.

        Source: fs/kernfs/file.c (kernfs_fop_open)
        """
        _check_open(self.node, inode, file)
        for mode, function in ((FMODE_READ, self.attr.read), (FMODE_WRITE, self.attr.write)):
            if file.f_mode & mode and function is None and self.attr.mmap is None:
                raise _error(errno.EACCES)

    def read(self, file: File, count: int, pos: int) -> Any:
        """Return at most a page from offset `pos`, nothing beyond the size.

        Source: fs/sysfs/file.c (sysfs_kf_bin_read)
        """
        _asked(self.node)
        count = min(count, PAGE_SIZE)
        if self.node.size:
            count = min(count, max(0, self.node.size - pos))
        return bin_read(self.node, pos, count) if count else b""

    def write(self, file: File, data: bytes, pos: int) -> int | None:
        """Hand at most a page on; beyond the size that is EFBIG.

        Source: fs/sysfs/file.c (sysfs_kf_bin_write)
        """
        _asked(self.node)
        data = bytes(data[:PAGE_SIZE])
        if self.node.size:
            if pos >= self.node.size:
                raise _error(errno.EFBIG)
            data = data[: self.node.size - pos]
        taken: int | None = bin_write(self.node, data, pos) if data else 0
        return taken

    def poll(self, file: File) -> int:
        """Say EPOLLPRI and EPOLLERR: of bytes that were read nobody takes note.

        Source: fs/kernfs/file.c (kernfs_generic_poll)
        """
        return DEFAULT_POLLMASK | EPOLLERR | EPOLLPRI


class _MappableFile(BinaryFile):
    """Serves a binary attribute that can be mapped."""

    name = "bin_attribute"

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Have the attribute's function map what it likes.

        Source: fs/kernfs/file.c (kernfs_fop_mmap)
        """
        _asked(self.node)
        assert self.attr.mmap is not None
        self.attr.mmap(self.of.kobj.of, self.attr, file, vma)


class TextFile(_NameFile):
    """Serves a file that has a text and nothing else, such as one of udev's data base.

    ``node.priv`` is a function that returns the text.
    """

    name = "text"

    def read(self, file: File, count: int, pos: int) -> bytes:
        """Return the text from offset `pos`, as it was when it was first read."""
        if not pos or file.private_data is None:
            file.private_data = self.node.priv()
        text: bytes = file.private_data
        return text[pos : pos + count]


def _check_open(node: KernfsNode, inode: Inode, file: File) -> None:
    if not node.is_active:
        raise _error(errno.ENODEV)
    for mode, bits in ((FMODE_READ, 0o444), (FMODE_WRITE, 0o222)):
        if file.f_mode & mode and not inode.i_mode & bits:
            raise _error(errno.EACCES)


def serve_attribute(node: KernfsNode) -> Driver:
    """Return what serves the file at `node`."""
    if not isinstance(node.priv, AttributeNode):
        return TextFile(node)
    attr = node.priv.attr
    if isinstance(attr, Attribute):
        return AttributeFile(node)
    return BinaryFile(node) if attr.mmap is None else _MappableFile(node)
