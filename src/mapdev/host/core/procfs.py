"""Makes the text of /proc/devices and /proc/misc, with the numbers of this host's devices.

Source: fs/proc/devices.c, fs/char_dev.c (chrdev_show), drivers/char/misc.c (misc_seq_show)
"""

from __future__ import annotations

from collections.abc import Callable

from mapdev.linux.kobject import DeviceTree

__all__ = ["VIEWS"]


def _devices(tree: DeviceTree, real: bytes) -> bytes:
    """Add our majors, in their order, to those of the real machine."""
    characters, blank, blocks = real.partition(b"\n\n")
    head, *lines = characters.split(b"\n")
    ours = {f"{major:3d} {name}".encode() for major, _, _, name in tree.chrdevs}
    lines = [*lines, *sorted(ours - set(lines))]
    return b"\n".join([head, *sorted(lines, key=_number)]) + (blank or b"\n") + blocks


def _misc(tree: DeviceTree, real: bytes) -> bytes:
    """Put our misc devices before those of the real machine: the newest is the first."""
    ours = [f"{minor:3d} {name}\n".encode() for minor, name in tree.misc.items()]
    return b"".join(reversed(ours)) + real


def _number(line: bytes) -> int:
    first = line.split(None, 1)[0] if line.strip() else b""
    return int(first) if first.isdigit() else 1 << 20


VIEWS: dict[str, Callable[[DeviceTree, bytes], bytes]] = {
    "/proc/devices": _devices,
    "/proc/misc": _misc,
}
"""By the path of the file: what makes its text of the real one."""
