"""Reads the module's state from the kernel: loaded or not, its version, the devices it serves.

Read from sysfs only, so that nothing is changed and no privilege is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mapdev.module import source

ROOT = Path("/")


class State(NamedTuple):
    """The module as it is loaded now."""

    version: str
    references: int
    parameters: dict[str, str]
    devices: dict[str, tuple[int, int]]  # node below /dev: major and minor number

    @property
    def fits(self) -> bool:
        """Whether this mapdev can talk to it: minor versions differ in features only."""
        return self.version.split(".")[0] == source.version().split(".")[0]


def read(root: Path = ROOT) -> State | None:
    """Return the state of the module, None when it is not loaded."""
    directory = root / "sys/module" / source.NAME
    # A module that is built in, or on its way in or out, has no initstate "live".
    if _text(directory / "initstate") != "live":
        return None
    parameters = {path.name: _text(path) for path in sorted(directory.glob("parameters/*"))}
    return State(
        _text(directory / "version") or "unknown",
        int(_text(directory / "refcnt") or 0),
        parameters,
        _devices(root),
    )


def _devices(root: Path) -> dict[str, tuple[int, int]]:
    devices = {}
    for path in sorted((root / "sys/class" / source.NAME).glob("*/dev")):
        major, _, minor = _text(path).partition(":")
        event = dict(
            line.split("=", 1) for line in _text(path.parent / "uevent").splitlines() if "=" in line
        )
        devices[event.get("DEVNAME", path.parent.name)] = int(major), int(minor)
    return devices


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # not there, or for root only
        return ""
