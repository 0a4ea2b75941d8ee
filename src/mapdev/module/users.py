"""Finds processes that have the module's devices open or mapped and so keep it loaded.

Of other users' processes that is not to be seen without root. Only files below /dev are looked at:
to ask for the status of others may take for ever, if a FUSE file system does not answer.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mapdev.module.state import ROOT

_NODES = "/dev/"


class User(NamedTuple):
    """A process, and how it uses a device: "open" or "mapped"."""

    pid: int
    command: str
    how: str
    path: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command}) has {self.path} {self.how}"


def users(numbers: set[tuple[int, int]], root: Path = ROOT) -> list[User]:
    """Return the processes that use devices of these major and minor numbers."""
    found: list[User] = []
    for process in (root / "proc").iterdir():
        if process.name.isdigit():
            found += _uses(process, numbers)
    return sorted(set(found))


def _uses(process: Path, numbers: set[tuple[int, int]]) -> Iterator[User]:
    # map_files has a link for each mapped file, which finds it although its name may be gone.
    for directory, how in (("fd", "open"), ("map_files", "mapped")):
        try:
            links = list((process / directory).iterdir())
        except OSError:  # it has ended, or is another user's
            continue
        for link in links:
            try:
                path = str(link.readlink())
                if not path.startswith(_NODES):
                    continue  # its file system may be one that no longer answers
                status = link.stat()
                if stat.S_ISCHR(status.st_mode) and _number(status.st_rdev) in numbers:
                    yield User(int(process.name), _command(process), how, path)
            except OSError:
                continue


def _number(device: int) -> tuple[int, int]:
    return os.major(device), os.minor(device)


def _command(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "?"
