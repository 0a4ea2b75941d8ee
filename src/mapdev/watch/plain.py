"""Writes events as lines of text: for a pipe, a log, and the log of the terminal view."""

from __future__ import annotations

import time
from typing import Any

from mapdev.linux.numbers import PAGE_SHIFT
from mapdev.watch.as_c import lines
from mapdev.watch.tables import visible

__all__ = ["event_lines", "pages_of", "summary"]


def summary(event: list[Any]) -> str:
    """Return an event in one line, without its time."""
    _, _, kind, pid, *rest = event
    who = f"{pid} " if pid else ""
    if kind == "call":
        node, operation, arguments, result, *_ = rest
        return f"{who}{node}: {operation}({arguments}) = {result}"
    if kind == "areas":
        return f"{who}{_areas(*rest)}"
    if kind == "pages":
        node, verb, _, runs = rest
        return f"{who}{node}: {verb} " + ", ".join(
            f"{addr:x} -> pfn {_range(pfn, count)}" for addr, pfn, count, _ in runs
        )
    if kind == "alloc":
        found = rest[0]
        pages = sum(count for _, count in found["runs"])
        first = found["runs"][0][0]
        more = "" if len(found["runs"]) == 1 else f" in {len(found['runs'])} runs"
        where = f" of {found['slab']}" if found["slab"] else ""
        return (f"{found['owner']}: {found['kind']} {found['size']} bytes at {found['addr']:#x}"
                f"{where}: {pages} frames from pfn {first:x}{more}")  # fmt: skip
    if kind == "free":
        return f"freed what was at {rest[0]:#x}"
    if kind == "device":
        return "{node} is a device of {driver}, {numbers}".format(**rest[0])
    return f"{who}{kind} {rest}"


def _areas(comm: str, verb: str, gone: list[int], new: list[dict[str, Any]]) -> str:
    what = [f"-{start:x}" for start in gone if start not in {area["vm_start"] for area in new}]
    what += [f"{area['node']} {area['vm_start']:x}-{area['vm_end']:x}" for area in new]
    return f"{f'({comm}) ' if comm else ''}{verb}: {', '.join(what)}"


def _range(pfn: int, count: int) -> str:
    return f"{pfn:x}" if count == 1 else f"{pfn:x}-{pfn + count - 1:x}"


def event_lines(event: list[Any]) -> list[str]:
    """Return an event with its number and time; an operation is followed by its calls as C."""
    number, at, kind, _, *rest = event
    clock = time.strftime("%H:%M:%S", time.localtime(at // 10**9))
    found = [f"{number:6} {clock}.{at // 1000 % 10**6:06} {summary(event)}"]
    if kind == "call":
        *_, area, calls = rest
        found += [f"       {line}" for line in lines(calls, area)]
    return [visible(line) for line in found]


def pages_of(area: dict[str, Any]) -> tuple[int, int]:
    """Return how many pages of an area are mapped, and how many it has."""
    mapped = sum(count for _, _, count, _ in area["runs"])
    return mapped, area["vm_end"] - area["vm_start"] >> PAGE_SHIFT
