"""Rewrites /proc/PID/maps and smaps as the kernel would show them: one line for a device's area.

The real areas behind it, one for each run of frames of a memfd, are the embedded host's own affair.
What the lines say of an area comes from the `DeviceArea`; what smaps counts is summed up over the
real areas. Made when the file is opened; it does not change afterwards. No state.

Source: fs/proc/task_mmu.c
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mapdev.host.embedded.files.node import filesystem
from mapdev.host.embedded.mm.vma import DeviceArea
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.processes import read_file
from mapdev.inspect.maps import MapsLine, parse_line
from mapdev.linux.numbers import (
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_EXEC,
    VM_MAYSHARE,
    VM_MIXEDMAP,
    VM_PFNMAP,
    VM_READ,
    VM_WRITE,
)

# The names that smaps has for bits of vm_flags, in the order of the bits.
_FLAG_NAMES = {
    0: "rd", 1: "wr", 2: "ex", 3: "sh", 4: "mr", 5: "mw", 6: "me", 7: "ms", 8: "gd", 10: "pf",
    13: "lo", 14: "io", 15: "sr", 16: "rr", 17: "dc", 18: "de", 20: "ac", 21: "nr", 22: "ht",
    23: "sf", 25: "wf", 26: "dd", 28: "mm",
    63: "sl",
}  # fmt: skip
# What is the same in each piece of an area, and not to be summed up.
_NOT_SUMMED = ("KernelPageSize", "MMUPageSize")


def maps(tgid: int, space: MmAreas, hidden: Sequence[range]) -> bytes:
    """Return the text of /proc/TGID/maps.

    :param hidden: addresses of the host's own, not to be shown.
    """
    text = ""
    for line, _ in _areas(tgid, space, hidden, "maps"):
        text += f"{line}\n"
    return text.encode(errors="surrogateescape")


def smaps(tgid: int, space: MmAreas, hidden: Sequence[range]) -> bytes:
    """Return the text of /proc/TGID/smaps; parameters as for `maps`."""
    text = ""
    for line, fields in _areas(tgid, space, hidden, "smaps"):
        text += "".join((f"{line}\n", *(f"{name}:{value}\n" for name, value in fields.items())))
    return text.encode(errors="surrogateescape")


class Resident(NamedTuple):
    """What of a process is resident; kB.

    :ivar real: frames of devices, which the kernel counts as shared memory.
    :ivar real_pss: the same, each by its share.
    :ivar counted: what it would count of them, as pages of a file.
    :ivar hidden: what is resident of the host's own.
    """

    real: int
    real_pss: int
    counted: int
    hidden: int


def resident(tgid: int, space: MmAreas, hidden: Sequence[range]) -> Resident:
    """Return what is resident of process `tgid`; parameters as for `maps`."""
    real, real_pss, in_hidden = 0.0, 0.0, 0
    pieces: dict[DeviceArea, list[tuple[MapsLine, dict[str, str]]]] = {area: [] for area in space}
    for line, fields in _read(tgid, "smaps"):
        for area in space.overlapping(line.start, line.end):
            pieces[area].append((line, fields))
            anonymous, share = _field(fields, "Anonymous"), _share(area, line)
            real += (_field(fields, "Rss") - anonymous) * share
            real_pss += max(0, _field(fields, "Pss") - anonymous) * share
        if any(line.start in part for part in hidden):
            in_hidden += _field(fields, "Rss")
    counted = 0
    for area, of_area in pieces.items():
        total = _sum(area, of_area)
        counted += _field(total, "Rss") - _field(total, "Anonymous")
    return Resident(round(real), round(real_pss), counted, in_hidden)


def sums(tgid: int, space: MmAreas, hidden: Sequence[range]) -> dict[str, int]:
    """Return the sums of the fields of smaps, in kB; parameters as for `maps`."""
    total: dict[str, int] = {}
    for _, fields in _areas(tgid, space, hidden, "smaps"):
        for name, value in fields.items():
            if value.endswith(" kB"):
                total[name] = total.get(name, 0) + _number(value)
    return total


def _field(fields: dict[str, str], name: str) -> int:
    return _number(fields.get(name, "0 kB"))


def _areas(
    tgid: int, space: MmAreas, hidden: Sequence[range], name: str
) -> Iterator[tuple[MapsLine, dict[str, str]]]:
    """Yield each area's line and fields of smaps, a device's areas in place of the real ones."""
    ours = list(space)
    pieces: list[tuple[MapsLine, dict[str, str]]] = []
    for line, fields in _read(tgid, name):
        while ours and ours[0].vm_end <= line.start:
            area = ours.pop(0)
            yield _line(area), _sum(area, pieces)
        pieces = [piece for piece in pieces if ours and piece[0].end > ours[0].vm_start]
        if ours and line.end > ours[0].vm_start:
            pieces.append((line, fields))
        elif not any(line.start in part for part in hidden):
            yield line, fields
    for area in ours:
        yield _line(area), _sum(area, pieces)


def _read(tgid: int, name: str) -> Iterator[tuple[MapsLine, dict[str, str]]]:
    text = read_file(f"/proc/{tgid}/{name}").decode(errors="surrogateescape")
    line: MapsLine | None = None
    fields: dict[str, str] = {}
    for row in text.splitlines():
        key, colon, value = row.partition(":")
        if colon and " " not in key:
            fields[key] = value
            continue
        if line is not None:
            yield line, fields
        line, fields = parse_line(row), {}
    if line is not None:
        yield line, fields


def _line(area: DeviceArea) -> MapsLine:
    flags, device = area.vm_flags, area.open_file.device
    perms = "".join(
        letter if flags & bit else "-"
        for letter, bit in (("r", VM_READ), ("w", VM_WRITE), ("x", VM_EXEC))
    ) + ("s" if flags & VM_MAYSHARE else "p")
    node = filesystem()
    dev = f"{os.major(node):02x}:{os.minor(node):02x}"
    offset = area.vm_pgoff << PAGE_SHIFT
    return MapsLine(area.vm_start, area.vm_end, perms, offset, dev, device.inode.i_ino,
                    device.node)  # fmt: skip


def _sum(area: DeviceArea, pieces: list[tuple[MapsLine, dict[str, str]]]) -> dict[str, str]:
    """Return the fields of an area, summed up over the real areas `pieces`; none for maps.

    A real area that reaches beyond this one counts by its share.
    """
    if not pieces or not pieces[0][1]:
        return {}
    total = dict(pieces[0][1])
    for name, value in total.items():
        if value.endswith(" kB") and name not in _NOT_SUMMED:
            total[name] = _kb(round(sum(
                _number(fields.get(name, "0 kB")) * _share(area, line) for line, fields in pieces
            )))  # fmt: skip
    _as_counted_by_a_kernel(area, total)
    if "VmFlags" in total:
        names = (name for bit, name in _FLAG_NAMES.items() if area.vm_flags >> bit & 1)
        total["VmFlags"] = " " + "".join(f"{name} " for name in names)
    return total


def _share(area: DeviceArea, line: MapsLine) -> float:
    common = min(area.vm_end, line.end) - max(area.vm_start, line.start)
    return max(0, common) / (line.end - line.start)


def _as_counted_by_a_kernel(area: DeviceArea, total: dict[str, str]) -> None:
    """Take out what only comes of our frames being a file's pages that we map ourselves."""
    anonymous = _number(total.get("Anonymous", "0 kB"))
    rss = anonymous if area.vm_flags & VM_PFNMAP else _number(total.get("Rss", "0 kB"))
    private = _number(total.get("Private_Clean", "0 kB")) if rss > anonymous else 0
    if area.vm_flags & VM_MIXEDMAP:  # pages that a driver has inserted are there untouched
        rss = max(rss, sum(run.nr_pages for run in area.mapped) * (PAGE_SIZE >> 10))
    counted = {
        "Rss": rss, "Pss": rss, "Pss_Dirty": rss - private, "Shared_Clean": 0, "Shared_Dirty": 0,
        "Private_Clean": private, "Private_Dirty": rss - private, "Referenced": rss,
        "Locked": rss if "Locked" in total and _number(total["Locked"]) else 0,
    }  # fmt: skip
    for name, value in counted.items():
        if name in total:
            total[name] = _kb(value)


def _number(value: str) -> int:
    return int(value.split()[0])


def _kb(number: int) -> str:
    return f"{number:16d} kB"
