"""File locks of one node: those of flock(2) and those of fcntl(2).

The owner of a lock of flock is an open file. That of a record lock is a process (F_SETLK) or an
open file (F_OFD_SETLK); all others' locks on the same bytes are in its way unless both only read.
Pure data: who waits, and when an owner is gone, is the host's business. Used under its lock.

Source: fs/locks.c
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

__all__ = ["OFFSET_MAX", "NodeLocks", "Record"]

OFFSET_MAX = (1 << 63) - 1


class Record(NamedTuple):
    """A lock on some bytes of a node.

    :ivar first, last: the bytes; `last` is OFFSET_MAX for all that come.
    :ivar is_write: F_WRLCK, else F_RDLCK.
    :ivar pid: what F_GETLK says of the owner: -1 for an open file.
    """

    owner: Hashable
    first: int
    last: int
    is_write: bool
    pid: int = -1

    def overlaps(self, other: Record) -> bool:
        """Whether both have a byte in common."""
        return self.first <= other.last and other.first <= self.last


class NodeLocks:
    """All locks of a node.

    :ivar whole: the locks of flock: whether it is LOCK_EX, by open file.
    :ivar records: the record locks; those of one owner do not overlap.
    """

    def __init__(self) -> None:
        self.whole: dict[Hashable, bool] = {}
        self.records: list[Record] = []

    def keeps_whole_from(self, owner: Hashable, is_write: bool) -> bool:
        """Say whether flock has to wait."""
        return any(
            other is not owner and (is_write or other_writes)
            for other, other_writes in self.whole.items()
        )

    def blocker(self, wanted: Record) -> Record | None:
        """Return the first lock of another owner that is in the way of `wanted`."""
        for record in self.records:
            if (
                record.owner != wanted.owner
                and record.overlaps(wanted)
                and (record.is_write or wanted.is_write)
            ):
                return record
        return None

    def remove(self, gone: Record) -> bool:
        """Take the bytes of `gone` out of the locks of its owner; say whether it had any."""
        kept: list[Record] = []
        found = False
        for record in self.records:
            if record.owner != gone.owner or not record.overlaps(gone):
                kept.append(record)
                continue
            found = True
            if record.first < gone.first:
                kept.append(record._replace(last=gone.first - 1))
            if record.last > gone.last:
                kept.append(record._replace(first=gone.last + 1))
        self.records = kept
        return found

    def add(self, new: Record) -> None:
        """Lock bytes that nobody else has locked, in place of what the owner had there."""
        self.remove(new)
        for record in list(self.records):  # neighbours of the same kind become one
            same = record.owner == new.owner and record.is_write == new.is_write
            if same and record.last + 1 == new.first:
                self.records.remove(record)
                new = new._replace(first=record.first)
            elif same and new.last + 1 == record.first:
                self.records.remove(record)
                new = new._replace(last=record.last)
        self.records.append(new)

    def release(self, owner: Hashable) -> bool:
        """Drop all that `owner` has; say whether that was anything."""
        had = self.whole.pop(owner, None) is not None
        count = len(self.records)
        self.records = [record for record in self.records if record.owner != owner]
        return had or len(self.records) < count
