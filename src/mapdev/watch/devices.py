"""What the running hosts say of one process: its areas of devices, and the frames in them."""

from __future__ import annotations

from typing import Any, NamedTuple

from mapdev.linux.numbers import PAGE_SHIFT
from mapdev.watch.client import HostError, ask, hosts

__all__ = ["DeviceAreaOf", "device_areas", "frames_by_number"]


class DeviceAreaOf(NamedTuple):
    """An area of a device in a process.

    :ivar host: the name of the host that serves the device.
    :ivar area: as `mapdev.host.core.snapshot.area_of` describes it.
    """

    host: str
    area: dict[str, Any]

    @property
    def start(self) -> int:
        """``vm_start``."""
        start: int = self.area["vm_start"]
        return start

    @property
    def end(self) -> int:
        """``vm_end``."""
        end: int = self.area["vm_end"]
        return end

    def frame_at(self, addr: int) -> int | None:
        """Return the number, on the host's machine, of the frame mapped at an address."""
        for first, pfn, nr_pages, _ in self.area["runs"]:
            if first <= addr < first + (nr_pages << PAGE_SHIFT):
                found: int = pfn + (addr - first >> PAGE_SHIFT)
                return found
        return None


def device_areas(pid: int) -> list[DeviceAreaOf]:
    """Return the areas of devices in process `pid`, of all hosts of this user."""
    found = []
    for name in hosts():
        try:
            processes = ask(name, "describe")["processes"]
        except HostError:
            continue  # it has just ended, or a driver keeps it busy
        for process in processes:
            if process["pid"] == pid:
                found += [DeviceAreaOf(name, area) for area in process["areas"]]
    return found


def frames_by_number(name: str) -> dict[int, dict[str, Any]]:
    """Return what host `name` says of each frame in use, by frame number.

    ``mapped`` are the places where that one frame is mapped.

    :raises HostError: it has ended, or is busy.
    """
    found: dict[int, dict[str, Any]] = {}
    for run in ask(name, "frames"):
        for page in range(run["nr_pages"]):
            shift = page << PAGE_SHIFT
            places = [[pid, addr + shift] for pid, addr in run["mapped"]]
            found[run["pfn"] + page] = {**run, "pfn": run["pfn"] + page, "mapped": places}
    return found
