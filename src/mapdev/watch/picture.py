"""Draws a host's state as plain lines of text: processes, frames and drivers side by side.

On the left the processes with their areas, in the middle the frames, sixteen a line, on the right
what the drivers have allocated; below them the log. It needs 80 columns and no colour. Lines of
what the last event changed begin with ``>``, and frames that it concerns are shown as ``*``.
"""

from __future__ import annotations

from typing import Any

from mapdev.watch.model import State, Timeline
from mapdev.watch.plain import event_lines, pages_of

__all__ = ["NARROWEST", "draw"]

NARROWEST = 80  # columns
_IN_A_ROW = 16  # frames
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_GAP = " "


def draw(timeline: Timeline, width: int, height: int, title: str) -> list[str]:
    """Return `height` lines of at most `width` columns."""
    width, height = max(width, NARROWEST), max(height, 8)
    state, event = timeline.state, timeline.event
    log_height = max(3, (height - 2) * 2 // 5)
    rows = height - 2 - log_height
    changed = _Changed(event)
    extra = (width - NARROWEST) // 2  # for the left and the right
    columns = (
        _fit(_processes(state, changed), rows, 27 + extra),
        _fit(_frames(state, changed), rows, 25),
        _fit(_drivers(state, changed), rows, 26 + extra),
    )
    shown = [title[:width].ljust(width)]
    shown += [_GAP.join(parts) for parts in zip(*columns, strict=True)]
    shown.append(f"-- log, event {event[0] if event else 0} ".ljust(width, "-"))
    return [line.rstrip() for line in [*shown, *_log(timeline, log_height, width)]]


class _Changed:
    """What an event concerns: areas, frames and allocations."""

    def __init__(self, event: list[Any] | None) -> None:
        self.areas: set[tuple[int, int]] = set()
        self.frames: set[int] = set()
        self.allocations: set[int] = set()
        if event is None:
            return
        _, _, kind, pid, *rest = event
        if kind == "areas":
            self.areas = {(pid, area["vm_start"]) for area in rest[3]}
            self._add(run[1:3] for area in rest[3] for run in area["runs"])
        elif kind == "pages":
            self.areas = {(pid, rest[2])}
            self._add(run[1:3] for run in rest[3])
        elif kind == "alloc":
            self.allocations = {rest[0]["addr"]}
            self._add(rest[0]["runs"])

    def _add(self, runs: Any) -> None:
        for first, count in runs:
            self.frames.update(range(first, first + count))


def _mark(is_changed: bool) -> str:
    return ">" if is_changed else " "


def _fit(lines: list[str], height: int, width: int) -> list[str]:
    """Cut or fill to `height` lines; if they don't fit, those that begin with ``>`` are shown."""
    if len(lines) > height:
        first = next((at for at, line in enumerate(lines) if line.startswith(">")), 0)
        at = max(0, min(first - height // 2, len(lines) - height))
        lines = [lines[0], *lines[at + 1 : at + height]]
        lines[-1] = f" ... {lines[-1].strip()}" if len(lines[-1]) < width - 5 else lines[-1]
    return [line[:width].ljust(width) for line in [*lines, *[""] * height][:height]]


def _processes(state: State, changed: _Changed) -> list[str]:
    lines = ["PROCESSES"]
    for pid, process in state.processes.items():
        lines.append(f" {pid} {process['comm']}")
        for start, area in process["areas"].items():
            mapped, pages = pages_of(area)
            mark = _mark((pid, start) in changed.areas)
            lines.append(f"{mark}{start:x}-{area['vm_end']:x}")
            lines.append(f"{mark} {area['node']} +{area['vm_pgoff']:x} {mapped}/{pages}")
    return lines if len(lines) > 1 else [*lines, " none maps a device"]


def letters_of(state: State) -> dict[str, str]:
    """Return the letter of each driver that has memory or a device."""
    names = dict.fromkeys(device["driver"] for device in state.devices)
    names.update(dict.fromkeys(found["owner"] for found in state.allocations.values()))
    return {name: _LETTERS[at % len(_LETTERS)] for at, name in enumerate(names)}


def _frames(state: State, changed: _Changed) -> list[str]:
    letters = letters_of(state)
    cells: dict[int, str] = {}
    for allocation in state.allocations.values():
        for first, count in allocation["runs"]:
            for pfn in range(first, first + count):
                cells[pfn] = letters[allocation["owner"]]
    for process in state.processes.values():
        for area in process["areas"].values():
            for _, first, count, kind in area["runs"]:
                for pfn in range(first, first + count) if kind != "vmalloc" else ():
                    cells[pfn] = cells.get(pfn, "?").upper()
    lines = ["FRAMES (A: mapped)"]
    for row in sorted({pfn // _IN_A_ROW for pfn in cells}):
        pfns = range(row * _IN_A_ROW, (row + 1) * _IN_A_ROW)
        text = "".join("*" if pfn in changed.frames else cells.get(pfn, ".") for pfn in pfns)
        lines.append(f"{_mark('*' in text)}{pfns.start:6x} {text}")
    return lines


def _drivers(state: State, changed: _Changed) -> list[str]:
    lines = ["DRIVERS"]
    for name, letter in letters_of(state).items():
        nodes = " ".join(found["node"] for found in state.devices if found["driver"] == name)
        lines.append(f" {letter} {name} {nodes}")
        mine = [found for found in state.allocations.values() if found["owner"] == name]
        for allocation in mine:
            kind = allocation["slab"] or allocation["kind"]
            mark = _mark(allocation["addr"] in changed.allocations)
            size = _size(allocation["size"])
            lines.append(f"{mark} {kind} {size} {allocation['addr']:x}")
    return lines


def _size(count: int) -> str:
    return f"{count >> 10}K" if count >= 1 << 10 and not count % 1024 else f"{count}"


def _log(timeline: Timeline, height: int, width: int) -> list[str]:
    """Return the events that led here, the last one at the bottom, each with its calls as C."""
    lines: list[str] = []
    at = timeline.position
    while at and len(lines) < height:
        at -= 1
        lines = [*event_lines(timeline.events[at]), *lines]
    fitting = [line if len(line) <= width else line[: width - 3] + "..." for line in lines]
    return [*fitting[-height:], *[""] * height][:height]
