"""Looks at files without asking who serves them: a program, or another machine, may not answer."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import NamedTuple

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_STATX_DONT_SYNC = 0x4000
_STATX_BASIC_STATS = 0x7FF
_STATX = struct.Struct("<28xH2xQ88x4I112x")  # ``struct statx``: 256 bytes

_libc = ctypes.CDLL(None, use_errno=True)


class FileStatus(NamedTuple):
    """What never changes of a file, as in `os.stat_result`."""

    st_mode: int
    st_ino: int
    st_rdev: int
    st_dev: int


def file_status(path: str | int) -> FileStatus:
    """Return what is known of a file, links followed, from the kernel's own memory (statx(2)).

    :param path: of what the kernel has at hand, like a link in /proc/PID/fd; or a descriptor.
    :raises OSError: as stat(2).
    """
    name, at, flags = (
        (b"", path, _AT_EMPTY_PATH) if isinstance(path, int) else (os.fsencode(path), _AT_FDCWD, 0)
    )
    buffer = ctypes.create_string_buffer(_STATX.size)
    flags |= _AT_STATX_DONT_SYNC
    if _libc.statx(at, name, flags, _STATX_BASIC_STATS, buffer) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    mode, inode, rdev_major, rdev_minor, major, minor = _STATX.unpack(buffer.raw)
    return FileStatus(mode, inode, os.makedev(rdev_major, rdev_minor), os.makedev(major, minor))
