"""Keeps what happened on a host in a file, to be looked at later without it.

The file has a line of JSON for the snapshot, ``{"mapdev": 1, "snapshot": {...}}``, and one for each
event. A recording that was cut off can be read up to there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import IO, Any

__all__ = ["FormatError", "read", "write"]

_VERSION = 1


class FormatError(Exception):
    """The file is no recording, or of a later version."""


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
    :raises FormatError: it is none.
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
    return snapshot, _events(rest)


def _events(text: str) -> Iterator[Any]:
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            return  # cut off while it was written
        if isinstance(event, list):  # what else there is did not come from us
            yield event
