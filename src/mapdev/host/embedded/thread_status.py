"""`ThreadStatus` reads a thread's pending signals from /proc; `GroupStops` detects group stops.

A thread in a call that the host has received sleeps until it is answered or killed: a signal for
it stays pending, and a stop of its process (Ctrl-Z) stays incomplete. Neither raises an event
anywhere, so while calls are parked the host has to look. What it looks at is kept open. Called in
the host's thread only.

Source: proc_pid_status(5)
"""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

_SIGKILL = 1 << 8
_STATUS_SIZE = 4096
_DEAD = b"ZX"


class Pending(NamedTuple):
    """The pending signals of one thread.

    :ivar private: a signal is pending for this very thread.
    :ivar shared: one is pending for its process, so that any of its threads may take it.
    """

    tgid: int
    threads: int
    private: bool
    shared: bool


class ThreadStatus:
    """/proc/TID/status of one thread, opened at the first look, and what the last one found."""

    __slots__ = ("_fd", "_found", "_text", "_tid")

    def __init__(self, tid: int) -> None:
        self._tid = tid
        self._fd = -1
        self._text = b""
        self._found: Pending | None = None

    def read(self) -> Pending | None:
        """Return which signals are pending and not blocked; None when the thread is dead."""
        try:
            if self._fd < 0:
                self._fd = os.open(f"/proc/{self._tid}/status", os.O_RDONLY | os.O_CLOEXEC)
            text = os.pread(self._fd, _STATUS_SIZE, 0)
        except OSError:
            return None
        if text == self._text:
            return self._found  # as for nearly all that wait
        if text[text.index(b"\nState:\t") + 8] in _DEAD:
            return None
        # Three lines of the same length follow each other, 16 hexadecimal digits each.
        at = text.index(b"\nSigPnd:\t") + 9
        private, shared, blocked = (int(text[start : start + 16], 16)
                                    for start in (at, at + 25, at + 50))  # fmt: skip
        wanted = ~(blocked | _SIGKILL)
        self._text = text
        self._found = Pending(
            _number(text, b"\nTgid:\t"), _number(text, b"\nThreads:\t"),
            bool(private & wanted), bool(shared & wanted),
        )  # fmt: skip
        return self._found

    def close(self) -> None:
        """Close what is open."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _number(text: bytes, label: bytes) -> int:
    at = text.index(label) + len(label)
    return int(text[at : text.index(b"\n", at)])


class GroupStops:
    """Tells whether a process is being stopped, by one of its threads that is not parked.

    The thread that takes SIGSTOP stops itself and asks the others to, which for a parked one shows
    nowhere. For each process one descriptor is kept, of /proc/TGID/task/TID/stat.
    """

    def __init__(self) -> None:
        self._witnesses: dict[int, tuple[int, int]] = {}  # by process: thread, descriptor

    def is_stopping(self, tgid: int, parked: set[int]) -> bool:
        """Say whether process `tgid`, of which the threads `parked` can't stop, is to stop."""
        tid, fd = self._witnesses.get(tgid, (0, -1))
        if fd >= 0 and tid not in parked:
            with contextlib.suppress(OSError):
                return _is_stopped(fd)
        self._forget(tgid)
        return self._choose(tgid, parked)

    def _choose(self, tgid: int, parked: set[int]) -> bool:
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{tgid}/task"):
                if int(name) not in parked:
                    path = f"/proc/{tgid}/task/{name}/stat"
                    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    self._witnesses[tgid] = int(name), fd
                    return _is_stopped(fd)
        return False

    def keep(self, processes: set[int]) -> None:
        """Forget all but these processes."""
        for tgid in self._witnesses.keys() - processes:
            self._forget(tgid)

    def _forget(self, tgid: int) -> None:
        fd = self._witnesses.pop(tgid, (0, -1))[1]
        if fd >= 0:
            os.close(fd)


def _is_stopped(fd: int) -> bool:
    return os.pread(fd, 512, 0).rpartition(b") ")[2][:1] == b"T"
