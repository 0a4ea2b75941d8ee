"""Keeps what happened on a host in a file, to be looked at later without it.

The file has a line of JSON for the snapshot, ``{"mapdev": 1, "snapshot": {...}}``, and one for each
event. A recording that was cut off can be read up to there; one that is damaged in between can't.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import IO, Any

from mapdev.linux.log import log
from mapdev.watch.plain import event_lines

__all__ = ["FormatError", "read", "write"]

_VERSION = 1


class FormatError(Exception):
    """The file is no recording, or of a later version, or damaged."""


def write(file: IO[str], snapshot: dict[str, Any], events: Iterable[Any]) -> int:
    """Write a recording; return how many events it has. Each is in the file at once."""
    print(json.dumps({"mapdev": _VERSION, "snapshot": snapshot}), file=file, flush=True)
    count = 0
    for event in events:
        print(json.dumps(event), file=file, flush=True)
        count += 1
    return count


def read(path: str) -> tuple[dict[str, Any], Iterator[Any]]:
    """Return the snapshot of a recording and its events.

    :raises OSError: it can't be read.
    :raises FormatError: it is none, or damaged.
    """
    with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        text = file.read()
    head, _, rest = text.partition("\n")
    try:
        found = json.loads(head)
        version, snapshot = found["mapdev"], found["snapshot"]
    except (ValueError, KeyError, TypeError):
        raise FormatError(f"{path}: this is no recording of `mapdev record`") from None
    if version != _VERSION:
        raise FormatError(f"{path}: a recording of version {version}; this mapdev reads {_VERSION}")
    if not isinstance(snapshot, dict):
        raise FormatError(f"{path}: line 1 is damaged")
    return snapshot, _events(path, rest)


def _events(path: str, text: str) -> Iterator[Any]:
    """Return the events; what was cut off while it was written is left out, and the user told.

    :raises FormatError: a line is none.
    """
    lines = text.split("\n")
    if lines.pop():
        log.warning("%s: the last event is cut off", path)
    found = []
    for number, line in enumerate(lines, 2):
        try:
            event = json.loads(line)
            event_lines(event)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError, OSError):
            raise FormatError(f"{path}: line {number} is damaged: it is no event") from None
        found.append(event)
    return iter(found)
