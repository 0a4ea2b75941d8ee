"""Follows a host's events: devices, allocations, processes with their areas, at any moment.

A `State` begins as a snapshot of the host and takes in one event after another. A `Timeline` keeps
the snapshot and the last events, so that one can step back and forth among them. Both hold plain
values as `mapdev.host.core.snapshot` and `mapdev.host.core.events` describe them.
"""

from __future__ import annotations

import copy
from typing import Any

from mapdev.linux.numbers import PAGE_SHIFT

__all__ = ["KEPT", "Area", "State", "Timeline"]

KEPT = 10_000  # events, as many as a host keeps
Event = list[Any]
Area = dict[str, Any]


class State:
    """A host at one moment.

    :ivar devices: node, driver and numbers of each.
    :ivar allocations: memory of drivers, by address.
    :ivar processes: name (comm) and areas, by start, of each process that maps a device.
    :ivar number: of the last event that it took in.
    """

    def __init__(self, snapshot: dict[str, Any], number: int = 0) -> None:
        self.devices: list[dict[str, Any]] = list(snapshot["devices"])
        self.allocations: dict[int, dict[str, Any]] = {
            allocation["addr"]: allocation for allocation in snapshot["allocations"]
        }
        self.processes: dict[int, dict[str, Any]] = {
            process["pid"]: {
                "comm": process["comm"],
                "areas": {area["vm_start"]: area for area in process["areas"]},
            }
            for process in snapshot["processes"]
        }
        self.number = number

    def apply(self, event: Event) -> None:
        """Take in an event."""
        number, _, kind, pid, *rest = event
        self.number = number
        if kind == "areas":
            self._areas(pid, *rest)
        elif kind == "pages":
            self._pages(pid, *rest)
        elif kind == "alloc":
            self.allocations[rest[0]["addr"]] = rest[0]
        elif kind == "free":
            self.allocations.pop(rest[0], None)
        elif kind == "device":
            self.devices.append(rest[0])

    def _areas(self, pid: int, comm: str, verb: str, gone: list[int], new: list[Area]) -> None:
        process = self.processes.setdefault(pid, {"comm": comm, "areas": {}})
        process["comm"] = comm or process["comm"]
        areas = dict(process["areas"])  # another one, which may be in a copy of this state
        for start in gone:
            areas.pop(start, None)
        areas.update((area["vm_start"], area) for area in new)
        process["areas"] = dict(sorted(areas.items()))
        if not areas:
            del self.processes[pid]

    def _pages(self, pid: int, node: str, verb: str, start: int, runs: list[Any]) -> None:
        areas = self.processes.get(pid, {"areas": {}})["areas"]
        if start in areas:
            areas[start] = {**areas[start], "runs": [*areas[start]["runs"], *runs]}

    def copy(self) -> State:
        """Return a state that goes its own way from here."""
        other = copy.copy(self)
        other.devices = list(self.devices)
        other.allocations = dict(self.allocations)
        other.processes = {
            pid: {"comm": process["comm"], "areas": dict(process["areas"])}
            for pid, process in self.processes.items()
        }
        return other

    def snapshot(self, like: dict[str, Any]) -> dict[str, Any]:
        """Return the state as a snapshot of the host that `like` is an earlier one of."""
        processes = [
            {"pid": pid, "comm": process["comm"], "areas": list(process["areas"].values())}
            for pid, process in self.processes.items()
        ]
        allocations = list(self.allocations.values())
        return {**like, "devices": list(self.devices), "allocations": allocations,
                "processes": processes}  # fmt: skip

    def mappings_of(self, pfn: int) -> list[tuple[int, int]]:
        """Return where a frame is mapped: process and user address."""
        return [
            (pid, addr + (pfn - first << PAGE_SHIFT))
            for pid, process in self.processes.items()
            for area in process["areas"].values()
            for addr, first, count, kind in area["runs"]
            if kind != "vmalloc" and first <= pfn < first + count
        ]


class Timeline:
    """The last events of a host, and the state after any of them.

    :ivar events: those that are kept.
    :ivar position: how many of them the state has taken in.
    :ivar follows: whether the position moves on with each event that comes.
    """

    def __init__(self, snapshot: dict[str, Any], most: int = KEPT) -> None:
        self._base = State(snapshot)
        self._most = most
        self.events: list[Event] = []
        self.position = 0
        self.follows = True
        self.state = self._base.copy()

    def add(self, event: Event) -> None:
        """Take a new event."""
        self.events.append(event)
        if self.follows and self.position == len(self.events) - 1:
            self.state.apply(event)
            self.position += 1
        if len(self.events) > self._most + self._most // 10:
            self._forget(len(self.events) - self._most)

    def _forget(self, count: int) -> None:
        for event in self.events[:count]:
            self._base.apply(event)
        del self.events[:count]
        if self.position < count:
            self.state, self.position = self._base.copy(), 0
        else:
            self.position -= count

    def go_to(self, position: int) -> None:
        """Show the state after the first `position` events; at the last one, follow again."""
        position = max(0, min(position, len(self.events)))
        if position < self.position:
            self.state, self.position = self._base.copy(), 0
        for event in self.events[self.position : position]:
            self.state.apply(event)
        self.position = position
        self.follows = position == len(self.events)

    def step(self, count: int) -> None:
        """Go `count` events forward, or back if it is negative."""
        self.go_to(self.position + count)

    def pause(self) -> None:
        """Stay here while events come."""
        self.follows = False

    @property
    def event(self) -> Event | None:
        """The event that led here; None at the beginning."""
        return self.events[self.position - 1] if self.position else None
