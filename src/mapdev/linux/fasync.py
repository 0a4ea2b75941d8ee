"""Signal-driven I/O: a driver keeps a list of files, to whose owners SIGIO goes.

A program sets O_ASYNC on its file, and says by F_SETOWN who gets the signal, by F_SETSIG which it
is. The driver's fasync passes that on to `fasync_helper`; when there is something to read,
`kill_fasync` signals all who asked for it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from mapdev.linux.context import context
from mapdev.linux.fs import File
from mapdev.linux.numbers import O_ASYNC

__all__ = [
    "POLL_ERR", "POLL_HUP", "POLL_IN", "POLL_MSG", "POLL_OUT", "POLL_PRI", "SIGIO", "SIGURG",
    "FasyncStruct", "fasync_helper", "kill_fasync",
]  # fmt: skip

POLL_IN, POLL_OUT, POLL_MSG, POLL_ERR, POLL_PRI, POLL_HUP = range(1, 7)
SIGURG, SIGIO = 23, 29


class _Signals(Protocol):
    """The part of a machine that signals the owners of files."""

    def set_fasync(self, file: File, on: bool) -> None:
        """Know that a file's owner is to be signalled, or not any more."""

    def kill_fasync(self, file: File, fd: int, sig: int, band: int) -> None:
        """Signal the owner of a file; from any thread."""


class FasyncStruct:
    """The files whose owners want a signal: what a ``struct fasync_struct *`` points to in C.

    Source: include/linux/fs.h
    """

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        """Make a list without files."""
        self._entries: dict[Hashable, tuple[int, _Signals]] = {}

    def __len__(self) -> int:
        """Return how many files want signals."""
        return len(self._entries)


def fasync_helper(fd: int, filp: File, on: int, fapp: FasyncStruct) -> int:
    """Put a file into a list of those that want signals, or take it out; sets its O_ASYNC.

    :param fd: the descriptor, which the signal will name; -1 at release
    :param on: not 0, to put it into the list
    :return: 1, the list has changed; 0, it was as asked for already

    Source: fs/fcntl.c
    """
    before = fapp._entries.pop(filp, None)
    machine: _Signals = context().machine
    if on:
        fapp._entries[filp] = fd, machine
        filp.f_flags |= O_ASYNC
        changed = before is None
    else:
        changed = before is not None
        if changed:  # O_ASYNC of open(2) stays, as nobody has put the file into the list
            filp.f_flags &= ~O_ASYNC
    machine.set_fasync(filp, bool(on))
    return int(changed)


def kill_fasync(fp: FasyncStruct, sig: int, band: int) -> None:
    """Signal the owners of all files of a list, from any thread.

    :param sig: `SIGIO`; of `SIGURG` those hear only who chose a signal by F_SETSIG
    :param band: what has happened, a ``POLL_*``: the signal's code, if it was chosen by F_SETSIG

    Source: fs/fcntl.c
    """
    for filp, (fd, machine) in list(fp._entries.items()):
        assert isinstance(filp, File)
        machine.kill_fasync(filp, fd, sig, band)
