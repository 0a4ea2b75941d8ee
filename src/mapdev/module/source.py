"""Finds the module's source and its version."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mapdev.support.tools import UnavailableError

NAME = "mapdev"
_HERE = Path(__file__).resolve().parent


def directory() -> Path:
    """Return the source: in a wheel it lies here, in the repository at the top.

    $MAPDEV_MODULE_SOURCE names another one.

    :raises UnavailableError: it is not there.
    """
    given = os.environ.get("MAPDEV_MODULE_SOURCE")
    for path in [Path(given)] if given else [_HERE / "source", _HERE.parents[2] / "module"]:
        if (path / "Kbuild").exists():
            return path
    raise UnavailableError(
        f"the module's source is not there: {path} has no Kbuild; install mapdev anew"
    )


def files(place: Path | None = None) -> list[Path]:
    """Return what is compiled, and nothing that a compiler has left between it.

    :param place: the source of another module, as the reference driver of the tests.
    """
    place = place or directory()
    kinds = {".c", ".h", ".S"}
    found = (path for path in place.iterdir() if path.suffix in kinds and ".mod." not in path.name)
    return sorted((*found, place / "Kbuild"))


def name(place: Path | None = None) -> str:
    """Return what a module is called, as its Kbuild says."""
    found = re.search(
        r"^obj-m\s*[:+]?=\s*(\w+)\.o", ((place or directory()) / "Kbuild").read_text(), re.MULTILINE
    )
    return found[1] if found else NAME


def version() -> str:
    """Return what MODULE_VERSION is: the version of the contract in mapdev.h, "MAJOR.MINOR"."""
    text = (directory() / "mapdev.h").read_text()
    major, minor = (
        re.search(rf"^#define\s+MAPDEV_ABI_{part}\s+(\d+)", text, re.MULTILINE)
        for part in ("MAJOR", "MINOR")
    )
    if not major or not minor:
        raise UnavailableError(f"{directory() / 'mapdev.h'} names no version")
    return f"{major[1]}.{minor[1]}"
