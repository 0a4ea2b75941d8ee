"""The areas of a live process, as /proc/PID/maps lists them.

Source: proc_pid_maps(5)
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

__all__ = ["MapsLine", "read_maps"]

_LINE = (
    r"(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) (?P<perms>[-rwxsp]{4}) (?P<offset>[0-9a-f]+) "
    r"(?P<dev>[0-9a-f]+:[0-9a-f]+) (?P<inode>\d+) *(?P<path>.*)"
)


class MapsLine(NamedTuple):
    """One area: addresses and offset in bytes, the range half-open."""

    start: int
    end: int
    perms: str
    offset: int
    dev: str
    inode: int
    path: str

    def __str__(self) -> str:
        """Return the line as the kernel prints it."""
        head = (
            f"{self.start:08x}-{self.end:08x} {self.perms} {self.offset:08x} {self.dev} "
            f"{self.inode} "
        )
        return f"{head:<73}{self.path}" if self.path else head


def read_maps(pid: int | str) -> list[MapsLine]:
    """Return the areas of process or thread `pid` (or ``self``), in the order of their addresses.

    :raises OSError: ESRCH or ENOENT no such process, EACCES not allowed to look.
    """
    with open(f"/proc/{pid}/maps", "rb", buffering=0) as file:  # noqa: PTH123 - imports much
        text = file.read().decode(errors="surrogateescape")
    return [parse_line(line) for line in text.splitlines()]


@functools.cache
def _line() -> re.Pattern[str]:
    return re.compile(_LINE)  # takes long, and is not needed to start


def parse_line(line: str) -> MapsLine:
    """Read one line of /proc/PID/maps.

    :raises ValueError: it is none.
    """
    match = _line().fullmatch(line)
    if match is None:
        raise ValueError(f"not a line of /proc/PID/maps: {line!r}")
    start, end, perms, offset, dev, inode, path = match.groups()
    return MapsLine(int(start, 16), int(end, 16), perms, int(offset, 16), dev, int(inode), path)
