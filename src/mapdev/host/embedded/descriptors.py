"""Chooses the descriptor number that a device gets in a client.

The filter sees numbers, not files, so a device's descriptor is put where calls on it are handed
over: see `filter.Descriptors`. Used in the host's thread only.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Sized

from mapdev.host.embedded.filter import Descriptors
from mapdev.host.embedded.notify import Call


class FdAllocator:
    """Chooses descriptor numbers for devices in clients.

    :param numbers: those that devices may have.
    :param files: the open files of all clients together.
    :ivar scratch: the last number of the range, at which physical memory is in a client for the
        moment of a mapping; no device gets it.
    """

    def __init__(self, numbers: Descriptors, files: Sized) -> None:
        self._numbers = numbers
        self._files = files
        self._next = 0
        self.scratch = numbers.base + numbers.room - 1

    def add(self, call: Call, fd: int, cloexec: bool) -> int:
        """Put a copy of our descriptor `fd` into the client of `call` and return its number there.

        :raises OSError: EMFILE or EBADF the client's limit leaves none.
        """
        if self.standard_is_closed(call.tid):
            # A daemon or a shell that closed 0, 1 or 2 expects open() to fill the gap.
            return call.add_descriptor(fd, None, cloexec)
        try:
            return call.add_descriptor(fd, self.free(call.tid), cloexec)
        except OSError as error:
            # EBADF: the client has lowered its limit below the device range since it started.
            if error.errno == errno.EBADF and self._has_low_descriptor(call.tid):
                return call.add_descriptor(fd, None, cloexec)
            raise

    def _has_low_descriptor(self, tid: int) -> bool:
        low = range(self._numbers.low)
        return not all(os.path.lexists(f"/proc/{tid}/fd/{fd}") for fd in low)

    def standard_is_closed(self, tid: int) -> bool:
        """Say whether descriptor 0, 1 or 2 is closed, so that it is the lowest free one."""
        return not all(os.path.lexists(f"/proc/{tid}/fd/{fd}") for fd in range(3))

    def free(self, tid: int) -> int:
        """Return a number for a device that is free in the process of thread `tid`.

        :raises OSError: EMFILE the client's limit leaves none.
        """
        base, room, _ = self._numbers
        crowded = len(self._files) > room // 2
        for _ in range(8 if crowded else room):
            number: int = base + self._next
            self._next = (self._next + 1) % (room - 1)
            if not os.path.lexists(f"/proc/{tid}/fd/{number}"):
                return number
        limit: int = resource.prlimit(tid, resource.RLIMIT_NOFILE)[0]
        used = {int(name) for name in os.listdir(f"/proc/{tid}/fd")}
        for number in (*range(base, base + room - 1), *range(base + room, limit)):
            if number not in used:
                return number
        raise OSError(
            errno.EMFILE,
            f"the client may have {limit} descriptors, and those from {base} on, which devices "
            "use, are taken: raise its limit (ulimit -n)",
        )
