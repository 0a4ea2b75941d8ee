"""`Eventfd` is an eventfd of a client of which the host has a descriptor too, by pidfd_getfd(2).

It owns that descriptor from `take` to `put`. It never waits: what would overflow is cut.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import threading

__all__ = ["Eventfd", "take"]

_PIDFD_GETFD = 438  # on each processor
_MOST = (1 << 64) - 2  # the largest count of an eventfd
_libc = ctypes.CDLL(None, use_errno=True)


class Eventfd:
    """See the module; implements `mapdev.linux.eventfd.EventfdCtx`. Used in any thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def signal(self, n: int) -> int:
        """Add up to `n` to the counter; return how much was added."""
        added = 0
        with self._lock:
            if n > 0 and self._is(select.POLLOUT):  # else a write would wait
                added = min(n, _MOST - self._count())
                os.write(self._fd, struct.pack("=Q", added))
        return added

    def read(self) -> int:
        """Take the counter; return what it was."""
        with self._lock:
            if not self._is(select.POLLIN):
                return 0
            (value,) = struct.unpack("=Q", os.read(self._fd, 8))
        return int(value)

    def put(self) -> None:
        """Close it."""
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    def _count(self) -> int:
        with open(f"/proc/self/fdinfo/{self._fd}") as file:  # noqa: PTH123
            text = file.read()
        return int(text.partition("eventfd-count:")[2].split()[0], 16)

    def _is(self, mask: int) -> bool:
        if self._fd < 0:
            raise OSError(errno.EBADF, "this eventfd was given to eventfd_ctx_put")
        poller = select.poll()
        poller.register(self._fd, mask)
        return bool(poller.poll(0))

    def __del__(self) -> None:
        self.put()


def take(tgid: int, fd: int) -> Eventfd:
    """Return the eventfd that process `tgid` has at `fd`.

    :raises OSError: EBADF there is no such descriptor, EINVAL it is no eventfd, EPERM the host may
        not have it, ESRCH the process is gone.
    """
    if fd < 0:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    pidfd = os.pidfd_open(tgid)
    try:
        ours = _libc.syscall(_PIDFD_GETFD, pidfd, fd, 0)
        if ours < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"descriptor {fd} of process {tgid}: {os.strerror(code)}")
    finally:
        os.close(pidfd)
    found = Eventfd(ours)
    if os.readlink(f"/proc/self/fd/{ours}") != "anon_inode:[eventfd]":  # noqa: PTH115
        raise OSError(errno.EINVAL, f"descriptor {fd} of process {tgid} is no eventfd")
    return found
