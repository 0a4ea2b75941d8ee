"""What open(2), creat(2), openat(2) and openat2(2) ask for: ``struct open_how``, and its checks.

Used for paths that mean a device. The first three drop flags that they don't know; openat2 refuses
them.

Source: fs/open.c (build_open_how, build_open_flags), include/linux/fcntl.h, lib/usercopy.c
"""

from __future__ import annotations

import errno
import os
import struct
from typing import NamedTuple, Self

from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.numbers import RESOLVE_BENEATH, RESOLVE_CACHED, RESOLVE_IN_ROOT
from mapdev.linux.numbers import PAGE_SIZE

_LAYOUT = struct.Struct("<QQQ")  # flags, mode, resolve

_RESOLVE_FLAGS = 0x3F

_TMPFILE = os.O_TMPFILE & ~os.O_DIRECTORY
_PATH_FLAGS = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_PATH | os.O_CLOEXEC
_OPEN_FLAGS = (
    os.O_ACCMODE | os.O_CREAT | os.O_EXCL | os.O_NOCTTY | os.O_TRUNC | os.O_APPEND
    | os.O_NONBLOCK | os.O_SYNC | os.O_DSYNC | os.O_ASYNC | os.O_DIRECT | ARCH.O_LARGEFILE
    | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NOATIME | os.O_CLOEXEC | os.O_PATH | os.O_TMPFILE
)  # fmt: skip
_MODE_BITS = 0o7777


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class OpenHow(NamedTuple):
    """How a file is to be opened: ``O_*`` flags, mode of a new file, ``RESOLVE_*`` flags."""

    flags: int
    mode: int = 0
    resolve: int = 0

    @classmethod
    def of_open(cls, flags: int) -> Self:
        """Return what open, creat and openat make of their flags."""
        flags &= _OPEN_FLAGS
        return cls(flags & _PATH_FLAGS if flags & os.O_PATH else flags)

    @classmethod
    def read(cls, call: Call, address: int, size: int) -> Self:
        """Return the structure of openat2, which has `size` bytes at `address`.

        :raises OSError: EINVAL it is too small, E2BIG it has something that is not known, EFAULT.
        """
        if size < _LAYOUT.size:
            raise _error(errno.EINVAL)
        if size > PAGE_SIZE:
            raise _error(errno.E2BIG)
        raw = call.read_user(address, size)
        if any(raw[_LAYOUT.size :]):
            raise _error(errno.E2BIG)
        return cls(*_LAYOUT.unpack_from(raw))

    def check(self) -> None:
        """Check flags and mode.

        :raises OSError: EINVAL they are unknown or make no sense together; EAGAIN RESOLVE_CACHED
            with flags that change the file.
        """
        flags, mode, resolve = self
        flags &= ~os.O_CLOEXEC
        creates = flags & (os.O_CREAT | _TMPFILE)
        both = RESOLVE_BENEATH | RESOLVE_IN_ROOT
        if (
            flags & ~_OPEN_FLAGS
            or resolve & ~_RESOLVE_FLAGS
            or resolve & both == both
            or mode & ~(_MODE_BITS if creates else 0)
            or (flags & os.O_DIRECTORY and flags & os.O_CREAT)
            or (flags & _TMPFILE and not (flags & os.O_DIRECTORY and self.writes))
            or (flags & os.O_PATH and flags & ~_PATH_FLAGS)
        ):
            raise _error(errno.EINVAL)
        if resolve & RESOLVE_CACHED and (creates or flags & os.O_TRUNC):
            raise _error(errno.EAGAIN)

    @property
    def writes(self) -> bool:
        """Whether it asks to write; access mode 3, which is for ioctl, needs the permission too."""
        return self.flags & os.O_ACCMODE != os.O_RDONLY

    @property
    def follows_link(self) -> bool:
        """Whether a symbolic link in the last place of the path is followed."""
        return not (self.flags & os.O_NOFOLLOW or self.is_new_only)

    @property
    def is_new_only(self) -> bool:
        """Whether nothing may be there."""
        return self.flags & (os.O_CREAT | os.O_EXCL) == os.O_CREAT | os.O_EXCL
