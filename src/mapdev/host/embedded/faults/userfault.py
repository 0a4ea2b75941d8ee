"""userfaultfd(2): a descriptor that reports touches of pages that are not mapped.

Made in a client, since it belongs to an address space, and fetched from there. No policy.

Source: userfaultfd(2), ioctl_userfaultfd(2), linux/userfaultfd.h
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from typing import NamedTuple, Protocol

from mapdev.host.embedded.inject.thread import StoppedThread
from mapdev.host.embedded.libc import pidfd_getfd
from mapdev.linux.numbers import PAGE_SIZE

UFFD_USER_MODE_ONLY = 1
_UFFDIO_API, UFFDIO_REGISTER, UFFDIO_WAKE = 0xC018AA3F, 0xC020AA00, 0x8010AA02
_UFFDIO_UNREGISTER, UFFDIO_WRITEPROTECT = 0x8010AA01, 0xC018AA06
_UFFDIO_COPY = 0xC028AA03
_UFFD_API = 0xAA
_FEATURE_THREAD_ID, _FEATURE_MINOR_SHMEM, _FEATURE_WP_SHMEM = 1 << 8, 1 << 10, 1 << 12
_FEATURES = _FEATURE_THREAD_ID | _FEATURE_MINOR_SHMEM
# What is told: touches of what is not there; writes to what `write_protect` has protected; touches
# of what is there in shared memory and is not in the page table.
MODE_MISSING, MODE_WP, MODE_MINOR = 1, 2, 4
_EVENT_PAGEFAULT = 0x12
_MESSAGE = struct.Struct("<B7xQQI4x")  # struct uffd_msg of a page fault: event, flags, address, tid
_AT_ONCE = 64
_THREE, _FOUR, _FIVE = struct.Struct("<QQQ"), struct.Struct("<QQQQ"), struct.Struct("<QQQQQ")
PROTECT, REGISTER = _THREE, _FOUR  # struct uffdio_writeprotect, uffdio_register
WAKE_RANGE = struct.Struct("<QQ")  # struct uffdio_range, in bytes: start and length
_NOWHERE = 1 << 16  # an address at which we have nothing: below all that the kernel places


class Fault(NamedTuple):
    """A page fault: a touch of a page that is not mapped, or not writable."""

    tid: int
    address: int  # of the page, bytes
    is_write: bool
    is_protection: bool  # the page is there, and was protected by `write_protect`


class Userfault(Protocol):
    """The interface of a userfaultfd that reports touches to a page fault handler."""

    @property
    def fd(self) -> int:
        """The descriptor on which reports come."""

    @property
    def kernel_too(self) -> bool:
        """Whether it tells of touches inside system calls; if not, those are EFAULT."""

    @property
    def can_protect(self) -> bool:
        """Whether shared memory can be write-protected (Linux 5.19)."""

    def register(self, start: int, end: int, mode: int) -> None:
        """Report touches of [`start`, `end`) from now on, of the kind that `mode` says."""

    def write_protect(self, start: int, end: int, on: bool) -> None:
        """Write-protect pages, so that the next write is reported, or take the protection off."""

    def wake(self, start: int, end: int) -> None:
        """Let threads that wait for a page in [`start`, `end`) try again."""

    def unregister(self, start: int, end: int) -> None:
        """Be told nothing more of [`start`, `end`)."""

    def is_told_of(self, page: int) -> bool:
        """Say whether a touch of the page at address `page` would be reported."""

    def read(self) -> list[Fault]:
        """Return the faults that have not been read yet."""

    def close(self) -> None:
        """Report nothing any more."""


class UserFault:
    """The host's copy of a client's userfaultfd; owns its descriptor.

    :ivar kernel_too: whether it tells of touches inside system calls; if not, those are EFAULT.
    :ivar can_protect: whether shared memory can be write-protected (Linux 5.19).
    """

    def __init__(self, fd: int, kernel_too: bool) -> None:
        self.fd = fd
        self.kernel_too = kernel_too
        os.set_blocking(fd, False)
        try:
            self._negotiate(_FEATURES | _FEATURE_WP_SHMEM)
            self.can_protect = True
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._negotiate(_FEATURES)
            self.can_protect = False

    def _negotiate(self, features: int) -> None:
        fcntl.ioctl(self.fd, _UFFDIO_API, bytearray(_THREE.pack(_UFFD_API, features, 0)))

    def register(self, start: int, end: int, mode: int) -> None:
        """Report touches of [`start`, `end`) from now on, of the kind that `mode` says.

        :raises ProcessLookupError: the client is gone, for which the kernel says ENOMEM.
        """
        request = bytearray(_FOUR.pack(start, end - start, mode, 0))
        self._check()
        try:
            fcntl.ioctl(self.fd, UFFDIO_REGISTER, request)
        except OSError as error:
            if error.errno == errno.EBUSY and not mode & MODE_WP:
                # Linux 7 takes no kind away from what is registered already, but adds to it.
                return self.register(start, end, mode | MODE_WP)
            if error.errno == errno.ENOMEM and self._probe(start) == errno.ESRCH:
                raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from None
            raise

    def write_protect(self, start: int, end: int, on: bool) -> None:
        """Write-protect pages, so that the next write is reported, or take the protection off."""
        request = bytearray(_THREE.pack(start, end - start, int(on)))
        self._check()
        fcntl.ioctl(self.fd, UFFDIO_WRITEPROTECT, request)

    def wake(self, start: int, end: int) -> None:
        """Let threads that wait for a page in [`start`, `end`) try again."""
        self._check()
        fcntl.ioctl(self.fd, UFFDIO_WAKE, WAKE_RANGE.pack(start, end - start))

    def unregister(self, start: int, end: int) -> None:
        """Be told nothing more of [`start`, `end`), whatever is there; who waits there goes on."""
        if self.fd < 0:
            return
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.fd, _UFFDIO_UNREGISTER, WAKE_RANGE.pack(start, end - start))
        with contextlib.suppress(OSError):
            self.wake(start, end)  # of what is gone already the kernel wakes nobody

    def is_told_of(self, page: int) -> bool:
        """Say whether the page at address `page` belongs to what is registered."""
        return self._probe(page) == errno.EFAULT

    def _probe(self, page: int) -> int:
        """Return why nothing can be copied to `page`: the client, the page, and then the source."""
        request = bytearray(_FIVE.pack(page, _NOWHERE, PAGE_SIZE, 0, 0))
        if self.fd < 0:
            return errno.ESRCH
        try:
            fcntl.ioctl(self.fd, _UFFDIO_COPY, request)
        except OSError as error:
            return error.errno or 0
        return 0

    def read(self) -> list[Fault]:
        """Return the faults that have not been read yet."""
        if self.fd < 0:
            return []
        try:
            raw = os.read(self.fd, _AT_ONCE * _MESSAGE.size)
        except BlockingIOError:
            return []
        return [
            Fault(tid, address, bool(flags & 1), bool(flags & 2))
            for event, flags, address, tid in _MESSAGE.iter_unpack(raw)
            if event == _EVENT_PAGEFAULT
        ]

    def close(self) -> None:
        """Close our copy: what is not there from then on is as in any anonymous memory.

        Afterwards the number may be another file's, of which nothing must be asked.
        """
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _check(self) -> None:
        if self.fd < 0:  # closed, since the client is gone
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))


def make_in(thread: StoppedThread, tgid: int) -> UserFault:
    """Make a userfaultfd for the process of the stopped `thread`, which is `tgid`.

    :raises OSError: EPERM the machine allows no userfaultfd, or not to fetch it.
    """
    kernel_too = True
    try:
        theirs = thread.syscall("userfaultfd", os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        kernel_too = False
        theirs = thread.syscall("userfaultfd", os.O_CLOEXEC | UFFD_USER_MODE_ONLY)
    try:
        pidfd = os.pidfd_open(tgid)
        try:
            fd = pidfd_getfd(pidfd, theirs)
        finally:
            os.close(pidfd)
    except OSError:
        thread.syscall("close", theirs)
        raise
    try:
        thread.syscall("close", theirs)
        return UserFault(fd, kernel_too)
    except BaseException:
        os.close(fd)
        raise
