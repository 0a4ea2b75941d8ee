"""`mapdev record-tree`: describes a device of this machine and its parents, in umockdev's format.

What is in ``/sys`` and in udev's data base is read and nothing else; `mapdev run --tree` takes it.
The device itself comes first, its parents after it.

Source: umockdev's README, "Device descriptions", as the description of the format
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["main", "record"]

_SYS, _UDEV = Path("/sys"), Path("/run/udev/data")
_LEFT_OUT = {"uevent", "dev", "subsystem", "device", "firmware_node", "power", "driver"}
_MOST = 1 << 16  # bytes of an attribute
_USAGE = "usage: mapdev record-tree /dev/NODE..."


def record(node: str) -> str:
    """Return the description of a device and its parents.

    :param node: its node, or its directory in ``/sys``.
    :raises OSError: there is none, or /sys does not know it.
    """
    at = _directory(node)
    blocks = []
    while at != _SYS / "devices" and at != at.parent:
        if (at / "uevent").exists():
            blocks.append("\n".join(_lines(at)))
        at = at.parent
    return "\n\n".join(blocks) + "\n"


def _directory(node: str) -> Path:
    path = Path(os.path.realpath(node))
    if _SYS in path.parents:
        return path
    status = path.stat()
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise OSError(f"{node} is no device")
    kind = "char" if stat.S_ISCHR(status.st_mode) else "block"
    number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return (_SYS / "dev" / kind / number).resolve(strict=True)


def _lines(at: Path) -> Iterator[str]:
    """Describe one device."""
    yield f"P: /{at.relative_to(_SYS)}"
    variables = dict(
        line.split("=", 1) for line in _text(at / "uevent").splitlines() if "=" in line
    )
    if "DEVNAME" in variables:
        yield f"N: {variables['DEVNAME']}"
    if (at / "subsystem").exists():
        variables["SUBSYSTEM"] = (at / "subsystem").resolve().name
    for line in _text(_UDEV / _entry(at, variables)).splitlines():
        kind, _, value = line.partition(":")
        if kind == "S":
            yield f"S: {value}"
        elif kind == "E" and "=" in value:
            name, _, text = value.partition("=")
            variables[name] = text
    for name, value in variables.items():
        yield f"E: {name}={value}"
    for path in sorted(_attributes(at)):
        name = str(path.relative_to(at))
        if path.is_symlink():
            yield f"L: {name}={path.readlink()}"
        else:
            yield from _attribute(name, path)


def _entry(at: Path, variables: dict[str, str]) -> str:
    if "MAJOR" in variables:
        kind = "b" if variables.get("SUBSYSTEM") == "block" else "c"
        return f"{kind}{variables['MAJOR']}:{variables.get('MINOR', '0')}"
    return f"+{variables.get('SUBSYSTEM', '')}:{at.name}"


def _attributes(at: Path) -> Iterator[Path]:
    """Give the attributes and links of a device, also those in directories of its groups."""
    for path in at.iterdir():
        if path.name in _LEFT_OUT:
            continue
        if path.is_symlink() or path.is_file():
            yield path
        elif not (path / "uevent").exists() and not any(
            (inner / "uevent").exists() for inner in path.iterdir() if inner.is_dir()
        ):
            yield from (inner for inner in path.iterdir() if inner.is_file())


def _attribute(name: str, path: Path) -> Iterator[str]:
    """Give the line of one attribute; none if it can't be read."""
    try:
        with path.open("rb", buffering=0) as file:
            data = file.read(_MOST)
    except OSError:
        return
    try:
        text = (data or b"").decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        yield f"H: {name}={(data or b'').hex().upper()}"
    else:
        yield f"A: {name}=" + text.replace("\\", "\\\\").replace("\n", "\\n")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def main(arguments: Sequence[str]) -> int:
    """Print the descriptions of devices; see `_USAGE`."""
    if not arguments or arguments[0].startswith("-"):
        print(_USAGE, file=sys.stdout if arguments[:1] in (["-h"], ["--help"]) else sys.stderr)
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    for node in arguments:
        try:
            print(record(node), end="\n" if node != arguments[-1] else "")
        except OSError as error:
            print(f"mapdev: {node}: {error.strerror or error}", file=sys.stderr)
            return 1
    return 0
