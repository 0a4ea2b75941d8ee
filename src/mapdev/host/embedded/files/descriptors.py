"""Chooses the descriptor number that a device gets in a client.

The filter sees numbers, not files, so a device's descriptor is put where calls on it are handed
over: see `filter.Descriptors`. Used in the host's thread only.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from itertools import chain

from mapdev.host.embedded.limits import limit_of
from mapdev.host.embedded.syscalls.filter import Descriptors
from mapdev.host.embedded.syscalls.notify import Call

_FEW = 8  # numbers that are looked at one by one, before all that a client has are listed


class FdAllocator:
    """Chooses descriptor numbers for devices in clients.

    :param numbers: those that devices may have.
    :ivar base: the first number of the device range.
    :ivar scratch: the last number of the range, at which physical memory is in a client for the
        moment of a mapping; no device gets it.
    """

    def __init__(self, numbers: Descriptors) -> None:
        self._numbers = numbers
        self.base = numbers.base
        self.scratch = numbers.base + numbers.room - 1

    def add(self, call: Call, put: Callable[[int | None], int]) -> int:
        """Put a device's descriptor into the client of `call` and return its number there.

        :param put: does it, at a number or the lowest that is free.

        :raises OSError: EMFILE or EBADF the client's limit leaves none.
        """
        if self.standard_is_closed(call.tid):
            # A daemon or a shell that closed 0, 1 or 2 expects open() to fill the gap.
            return put(None)
        try:
            return put(self.free(call.tid))
        except OSError as error:
            # EBADF: the client has lowered its limit below the device range since it started.
            if error.errno == errno.EBADF and self._has_low_descriptor(call.tid):
                return put(None)
            raise

    def _has_low_descriptor(self, tid: int) -> bool:
        low = range(self._numbers.low)
        return not all(os.path.lexists(f"/proc/{tid}/fd/{fd}") for fd in low)

    def standard_is_closed(self, tid: int) -> bool:
        """Say whether descriptor 0, 1 or 2 is closed, so that it is the lowest free one."""
        return not all(os.path.lexists(f"/proc/{tid}/fd/{fd}") for fd in range(3))

    def free(self, tid: int) -> int:
        """Return the lowest number for a device that is free in the process of thread `tid`.

        :raises OSError: EMFILE the client's limit leaves none.
        """
        base, room, _ = self._numbers
        for number in range(base, base + _FEW):
            if not os.path.lexists(f"/proc/{tid}/fd/{number}"):
                return number
        limit = limit_of(tid, resource.RLIMIT_NOFILE)
        used = _used(tid)
        for number in chain(range(base, base + room - 1), range(base + room, limit)):
            if number not in used:
                return number
        raise OSError(
            errno.EMFILE,
            f"the client may have {limit} descriptors, and those from {base} on, which devices "
            "use, are taken: raise its limit (ulimit -n)",
        )

    def check_limit(self, tid: int) -> None:
        """Check that a number is left in the process of thread `tid`, before open has an effect.

        :raises OSError: EMFILE there is none.

        Source: fs/open.c (do_sys_openat2), fs/file.c (alloc_fd)
        """
        base, _, low = self._numbers
        limit = limit_of(tid, resource.RLIMIT_NOFILE)
        if limit > base:
            if not self.standard_is_closed(tid):
                self.free(tid)
        elif not set(range(min(low, limit))) - _used(tid):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def _used(tid: int) -> set[int]:
    """Return the numbers that thread `tid` uses; none if we may not see them."""
    try:
        return {int(name) for name in os.listdir(f"/proc/{tid}/fd")}
    except PermissionError:
        return set()
