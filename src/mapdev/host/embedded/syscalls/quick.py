"""Fast path: recognises system calls that concern no device and lets the kernel run them.

Most of the calls that the filter hands over are of programs that just open, look at and read files
of their own. `Quick.events` recognises nearly all of them before anything else is done: no `Call`
is made, no handler looked for, no lock taken. What it passes on is what the handler in `calls`
would pass on; in any doubt it leaves the call to that. It changes nothing.

A path leads to a device only if a name in it is one of ours, or its last name that of a symbolic
link, or if it goes through /proc (see `paths`). One that is opened may besides lead to a directory
with names of ours. A descriptor is a device's only if its link in /proc is known.

Where the C extension is in use, it does the same by the same tables (native/serve.c,
native/classify.c); `Quick` is its reference, and stands in for it. `Quick` is written for speed, as
nothing else here is: local names, and a table in place of functions.

Either runs in the host's thread. What it reads is changed by that thread alone, so not while it
waits, but for the names of nodes, to which another thread may add one, as between two calls.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Container, Generator
from fcntl import ioctl
from typing import TYPE_CHECKING, Any, Protocol

from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.files.paths import PROC_LIKE
from mapdev.host.embedded.libc import PathReader, is_symbolic_link
from mapdev.host.embedded.native import NATIVE
from mapdev.host.embedded.syscalls.notify import (
    NOTIFICATION,
    RESPONSE,
    SECCOMP_IOCTL_NOTIF_RECV,
    SECCOMP_IOCTL_NOTIF_SEND,
    SECCOMP_USER_NOTIF_FLAG_CONTINUE,
    Notification,
)
from mapdev.host.embedded.syscalls.table import BY_NUMBER, Syscall
from mapdev.host.numbers import AT_EMPTY_PATH, AT_FDCWD, UINT_MAX
from mapdev.linux.numbers import PAGE_SIZE

if TYPE_CHECKING:
    from mapdev.host.embedded.subsystems import Subsystems

Events = list[tuple[int, int]]
Poll = Callable[[float | None, int], Events]
Outcome = tuple[Events, Notification | None]

_INT = UINT_MAX
_CWD = AT_FDCWD & _INT
_PROC_LIKE = tuple(os.fsencode(path) for path in PROC_LIKE)
_NO_NODES_NAMES = (b"", b".", b"..")
_DOTS = (b".", b"..")
_NOTHING = bytes(NOTIFICATION.size)
_MANY = 64  # events at a time
_GONE = (FileNotFoundError, InterruptedError, BlockingIOError)  # its thread was killed

# Where a notification has what; at _ZERO there is nothing but 0.
_TID, _ZERO, _NR, _ARCH, _A0 = 1, 2, 3, 4, 6

# How a call is looked at: where it has a descriptor (_NONE: nowhere; of a path, the directory's),
# where a path (0: nowhere), and where there are bits that are not 0 in some cases: if there is a
# path, when a link in the last place is not followed, else when the call is about areas. Last,
# whether the call may open a directory to list it.
_NONE = _ZERO
_NEVER, _ALWAYS = (_ZERO, 0), (_ARCH, ARCH.AUDIT_ARCH)
_Check = tuple[int, int, int, int, bool]


def _check(call: Syscall) -> _Check:
    if call.paths:
        ((directory, path),) = call.paths
        at = _NONE if directory is None else _A0 + directory, _A0 + path
        bits = (_A0 + call.flags, call.nofollow) if call.nofollow else _NEVER
        return *at, *(bits if call.follows else _ALWAYS), call.is_listing
    if call.fds:
        (fd,) = call.fds
        return _A0 + fd, 0, *((_A0 + call.flags, call.areas) if call.areas else _NEVER), False
    return _NONE, 0, *_ALWAYS, False


_CHECKS: dict[int, _Check] = {
    number: _check(call) for number, call in BY_NUMBER.items()
    if call.is_quick and len(call.paths) < 2 and len(call.fds) < 2
}  # fmt: skip
_UNKNOWN = (_ARCH, 0, *_NEVER, False)  # of other calls: as if they were on a device


class Waits(Protocol):
    """Waits for events and passes on calls, until there is anything but these."""

    def send(self, due: float | None, /) -> Outcome:
        """Wait until `due` at the latest, by the monotonic clock; None: for as long as it takes.

        :return: the events; if that is one call, also what has been taken of it.
        """


def waiting_for_calls(kernel: Subsystems, epoll: select.epoll, listeners: dict[int, Any]) -> Waits:
    """Return what waits for calls here: the C extension, or `Quick` if there is none.

    :param listeners: all listeners, by descriptor.
    """
    if NATIVE is not None:
        return NativeQuick(kernel, epoll.fileno(), listeners)
    events = Quick(kernel).events(epoll.poll, listeners)
    next(events)
    return events


class NativeQuick:
    """Does what `Quick` does by the C extension."""

    def __init__(self, kernel: Subsystems, epoll: int, listeners: dict[int, Any]) -> None:
        assert NATIVE is not None
        self._spaces = kernel.spaces
        self._paths = kernel.paths
        self._directories = kernel.paths.directories
        self._lookups = kernel.paths.lookups
        self._native = NATIVE.Quick(
            epoll, listeners, kernel.files.table.by_link, kernel.paths.overlay.native,
            [(number, *check) for number, check in _CHECKS.items()], _PROC_LIKE,
            kernel.descriptors.base, ARCH.AUDIT_ARCH, PAGE_SIZE,
        )  # fmt: skip
        self._wait = self._native.wait
        if kernel.gate is not None:
            self._native.use(kernel.gate)

    def send(self, due: float | None, /) -> Outcome:
        """See `Waits.send`."""
        spaces = self._spaces
        outcome: Outcome = self._wait(
            due, spaces.needs_all_calls, bool(spaces), self._paths.roots_differ,
            self._directories.has_visitors, self._lookups.may_wait,
        )  # fmt: skip
        return outcome

    def is_foreign(self, call: Notification) -> bool:
        """Say whether a call certainly concerns no device; see `Quick.is_foreign`."""
        spaces = self._spaces
        found: bool = self._native.is_foreign(
            NOTIFICATION.pack(*call), spaces.needs_all_calls, bool(spaces),
            self._paths.roots_differ, self._directories.has_visitors, self._lookups.may_wait,
        )  # fmt: skip
        return found


class Quick:
    """Lets the kernel run the calls that concern no device.

    :param kernel: whose devices and open files there are.
    """

    def __init__(self, kernel: Subsystems) -> None:
        self._spaces = kernel.spaces
        self._paths = kernel.paths
        self._names = kernel.paths.names
        self._merged = kernel.paths.overlay.merged
        self._directories = kernel.paths.directories
        self._lookups = kernel.paths.lookups
        self._links = kernel.files.table.by_link
        self._base = kernel.descriptors.base
        self._read_path = PathReader().read
        self._buffer = bytearray(NOTIFICATION.size)
        self._response = bytearray(RESPONSE.size)

    def events(
        self, poll: Poll, listeners: Container[int]
    ) -> Generator[Outcome, float | None, None]:
        """Wait for events and pass on calls, until there is anything but these.

        A generator, so that it need not look up its names for each call. What is sent to it is when
        it must come back, by the monotonic clock, or None. It gives the events; if that is one
        call, also what has been taken of it.
        """
        buffer, response = self._buffer, self._response
        unpack, pack_into = NOTIFICATION.unpack, RESPONSE.pack_into
        is_foreign, clock = self.is_foreign, time.monotonic
        call: Notification | None = None
        events: Events = []
        due = yield events, call
        while True:
            events = poll(None if due is None else max(0.0, due - clock()), _MANY)
            fd, event = events[0] if len(events) == 1 else (-1, 0)
            if event != select.EPOLLIN or fd not in listeners:
                due = yield events, None
                continue
            buffer[:] = _NOTHING
            try:
                ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, buffer)
            except _GONE:
                continue
            call = unpack(buffer)
            try:
                passes = is_foreign(call)
            except Exception:
                passes = False  # a call must not be lost, whatever is wrong here
            if not passes:
                due = yield events, call
                continue
            pack_into(response, 0, call[0], 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE)
            try:
                ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, response)
            except _GONE:
                continue

    def is_foreign(self, call: Notification) -> bool:
        """Say whether a call certainly concerns no device and nothing else of the host's."""
        fd_at, path_at, bits_at, bits, lists = _CHECKS.get(call[_NR], _UNKNOWN)
        if not path_at and call[fd_at] & _INT >= self._base:
            return False  # on what is probably a device, which `_handle` will look for
        if call[_ARCH] != ARCH.AUDIT_ARCH or self._spaces.needs_all_calls:
            return False
        if not path_at:
            if call[bits_at] & bits and self._spaces:
                return False
            return fd_at == _NONE or self._is_foreign_file(call[_TID], call[fd_at] & _INT)
        path = self._read_path(call[_TID], call[path_at])
        if path is None:
            return False
        parts = path.split(b"/")
        name = parts[-1]
        if not self._names.isdisjoint(parts) or path.startswith(_PROC_LIKE):
            return False
        if lists and not self._is_listed_as_ever(path, name):
            return False
        if self._directories.has_visitors and not path.startswith(b"/"):
            return False
        if not path and call[bits_at] & AT_EMPTY_PATH:
            return self._is_foreign_file(call[_TID], call[fd_at] & _INT)
        if name in _NO_NODES_NAMES:
            path = path.rstrip(b"/")
            if name or not path:
                return True
            # What has a slash behind it is followed if it is a link.
        elif call[bits_at] & bits:
            return True
        if self._lookups.may_wait or self._paths.roots_differ:
            return False  # to look whether it is a link might be to wait
        if not path.startswith(b"/"):
            is_cwd = fd_at == _NONE or call[fd_at] & _INT == _CWD
            start = b"cwd" if is_cwd else b"fd/%d" % (call[fd_at] & _INT)
            path = b"/proc/%d/%b/%b" % (call[_TID], start, path)
        return not is_symbolic_link(path)

    def _is_listed_as_ever(self, path: bytes, name: bytes) -> bool:
        """Say whether a path certainly leads to no directory that has names of ours in it."""
        if not name:
            path = path.rstrip(b"/")
            name = path[path.rfind(b"/") + 1 :]
        return name not in self._merged and name not in _DOTS

    def _is_foreign_file(self, tid: int, fd: int) -> bool:
        """Say whether a descriptor is no device's; see `Subsystems.file`."""
        if fd >= self._base:
            return False  # it probably is, and then it is looked for once again
        if not self._links:
            return True
        try:
            return os.readlink(f"/proc/{tid}/fd/{fd}") not in self._links
        except OSError:
            return True
