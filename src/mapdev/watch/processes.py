"""`mapdev maps` and `mapdev pages`: the areas and pages of any process, as the kernel has them.

Where a running host says that an area is a device's, it is shown as the device's driver knows it,
and its frames as the host's machine has them.

Exit status: 0; 1 the process can't be looked at, or has no such area; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from mapdev.host.core.snapshot import vm_flags
from mapdev.inspect.pages import LivePage, Sharer, find_sharers, read_pages
from mapdev.inspect.smaps import LiveArea, read_areas
from mapdev.linux.numbers import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE
from mapdev.watch.client import HostError
from mapdev.watch.devices import DeviceAreaOf, device_areas, frames_by_number
from mapdev.watch.tables import print_table, size, visible, wrapped

__all__ = ["maps", "pages"]

_HIDDEN = """\
mapdev pages: frame numbers, flags and counts need CAP_SYS_ADMIN; root would see them:
  {command}"""
_MOST_PLACES = 2  # of one frame in a row of a table; --json has all
_OF_KERNEL_THREAD = "it has no areas: it is a kernel thread, or has ended"


class _Failed(Exception):  # noqa: N818 - an outcome
    """What the command says before it ends with status 1."""


# --- mapdev maps --------------------------------------------------------------------------------


def _maps_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mapdev maps",
        description="List the areas (struct vm_area_struct) of process PID, with their flags "
        "spelt out. Areas of devices that a host of yours serves are shown as the driver knows "
        "them.",
        epilog="vm_start, vm_end: addresses, hexadecimal; vm_pgoff: offset into the file, in "
        "pages, hexadecimal; pages: length of the area; Rss: what of it is in memory.",
    )
    parser.add_argument("pid", type=_pid, metavar="PID", help="number of a process or thread")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser


def maps(argv: Sequence[str]) -> int:
    """Run ``mapdev maps`` and return its exit status."""
    arguments = _maps_parser().parse_args(argv)
    try:
        rows = [_described(area) for area in _areas(arguments.pid, "maps", "its areas")]
        rows = _with_devices(rows, device_areas(arguments.pid))
    except _Failed as failed:
        return _complain("maps", failed)
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return 0
    print(f"{'vm_start-vm_end':33}  {'vm_pgoff':>8}  {'pages':>7}  {'Rss':>9}  file")
    for row in rows:
        pages = row["vm_end"] - row["vm_start"] >> PAGE_SHIFT
        extent = f"{row['vm_start']:012x}-{row['vm_end']:012x}"
        device = row["device"]
        name = f"{row['file']}  (host {device['host']})" if device else row["file"]
        print(f"{extent:33}  {row['vm_pgoff']:8x}  {pages:7}  {size(row['sizes']['Rss']):>9}  "
              f"{visible(name)}".rstrip())  # fmt: skip
        operations = (
            f"; vm_ops: {' '.join(device['vm_ops'])}" if device and device["vm_ops"] else ""
        )
        print(wrapped(" ".join(row["flags"]) + operations, 4))
    return 0


def _described(area: LiveArea) -> dict[str, Any]:
    line = area.line
    return {
        "vm_start": area.vm_start, "vm_end": area.vm_end, "vm_pgoff": area.vm_pgoff,
        "flags": list(area.flags), "file": line.path, "dev": line.dev, "inode": line.inode,
        "sizes": {"Rss": 0, **area.sizes}, "device": None,
    }  # fmt: skip


def _with_devices(
    rows: list[dict[str, Any]], devices: Sequence[DeviceAreaOf]
) -> list[dict[str, Any]]:
    """Put the areas of devices in the place of the mappings of frames that they consist of."""
    for device in devices:
        inside = [row for row in rows if device.start <= row["vm_start"] < device.end]
        rows = [row for row in rows if row not in inside]
        area = device.area
        sizes: dict[str, int] = {"Rss": 0}
        for row in inside:
            for name, value in row["sizes"].items():
                sizes[name] = sizes.get(name, 0) + value
        rows.append({
            "vm_start": device.start, "vm_end": device.end, "vm_pgoff": area["vm_pgoff"],
            "flags": vm_flags(area["vm_flags"]), "file": area["node"], "dev": "", "inode": 0,
            "sizes": sizes,
            "device": {"host": device.host, "vm_ops": area["vm_ops"], "runs": area["runs"]},
        })  # fmt: skip
    return sorted(rows, key=lambda row: int(row["vm_start"]))


# --- mapdev pages -------------------------------------------------------------------------------


def _pages_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mapdev pages",
        description="Show what the page table of process PID holds at an address, or in the areas "
        "of a name: frame number (pfn), the frame's flags and counts, and who else maps it.",
        epilog="What pagemap says of a page: present, swapped, file/shared-anon, exclusive, "
        "soft-dirty, uffd-wp, guard. Frame numbers, kpageflags and kpagecount are for root.",
    )
    parser.add_argument("pid", type=_pid, metavar="PID", help="number of a process")
    parser.add_argument(
        "what", metavar="ADDRESS|NAME",
        help="a hexadecimal address, such as 7f120000; or the path, or last part of the path, of "
        "what is mapped: /dev/buf, libc.so.6, [stack]",
    )  # fmt: skip
    parser.add_argument(
        "--all", action="store_true", help="all pages of the area, those without a frame too"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser


def pages(argv: Sequence[str]) -> int:
    """Run ``mapdev pages`` and return its exit status."""
    arguments = _pages_parser().parse_args(argv)
    pid: int = arguments.pid
    try:
        areas = _areas(pid, "pages", "its pages", arguments.what)
        devices = device_areas(pid)
        chosen = _choose(areas, devices, arguments.what)
        rows: list[dict[str, Any]] = []
        for area, start, end in chosen:
            if isinstance(area, DeviceAreaOf):
                rows += _pages_of_device(pid, area, start, end, arguments.all)
            else:
                rows += _pages_of(pid, area, start, end, arguments.all)
    except _Failed as failed:
        return _complain("pages", failed)
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return 0
    _print_pages(rows)
    hidden = any(row["host"] is None and "present" in row["pagemap"] and row["pfn"] is None
                 for row in rows)  # fmt: skip
    if hidden:
        print(_HIDDEN.format(
                  command=shlex.join(["sudo", sys.argv[0], "pages", str(pid), arguments.what])),
              file=sys.stderr)  # fmt: skip
    return 0


_Area = LiveArea | DeviceAreaOf


def _choose(
    areas: list[LiveArea], devices: list[DeviceAreaOf], what: str
) -> list[tuple[_Area, int, int]]:
    """Return the areas that `what` names, each with the part that is meant; see ``--all``."""
    mine: list[_Area] = [*devices]
    for other in areas:
        if not any(device.start <= other.vm_start < device.end for device in devices):
            mine.append(other)
    named = [area for area in mine if what in (_name(area), _name(area).rpartition("/")[2])]
    if named and what:
        return [(area, *_range(area)) for area in named]
    try:
        addr = int(what, 16)
    except ValueError:
        raise _Failed(f"nothing called {what!r} is mapped; see `mapdev maps`") from None
    for area in mine:
        start, end = _range(area)
        if start <= addr < end:
            return [(area, addr & PAGE_MASK, (addr & PAGE_MASK) + PAGE_SIZE)]
    raise _Failed(f"nothing is mapped at {addr:#x}; see `mapdev maps`")


def _name(area: _Area) -> str:
    return str(area.area["node"]) if isinstance(area, DeviceAreaOf) else area.line.path


def _range(area: _Area) -> tuple[int, int]:
    if isinstance(area, DeviceAreaOf):
        return area.start, area.end
    return area.vm_start, area.vm_end


def _pages_of(
    pid: int, area: LiveArea, start: int, end: int, all: bool
) -> list[dict[str, Any]]:  # fmt: skip
    if all:
        start, end = area.vm_start, area.vm_end
    elif (start, end) != (area.vm_start, area.vm_end):
        all = True  # the one page that was asked for, whatever is there
    try:
        found = read_pages(pid, area.line, start, end, all=all)
    except OSError as error:
        raise _failure(error, pid, "pages", "its pages", f"{start:x}") from None
    sharers = find_sharers(pid, area.line, found)
    return [_page(area, page, sharers.get(page.entry.addr, [])) for page in found]


def _page(area: LiveArea, page: LivePage, sharers: list[Sharer]) -> dict[str, Any]:
    entry = page.entry
    return {
        "addr": entry.addr, "file": area.line.path, "offset": page.offset, "host": None,
        "pagemap": list(entry.names), "pfn": entry.pfn, "swap": entry.swap,
        "flags": None if page.flags is None else list(page.flags), "mapcount": page.mapcount,
        "mapped": [list(sharer) for sharer in sharers],
    }  # fmt: skip


def _pages_of_device(
    pid: int, area: DeviceAreaOf, start: int, end: int, all: bool
) -> list[dict[str, Any]]:
    if all:
        start, end = area.start, area.end
    try:
        frames = frames_by_number(area.host)
    except HostError as error:
        raise _Failed(str(error)) from None
    rows = []
    for addr in range(start, end, PAGE_SIZE):
        pfn = area.frame_at(addr)
        if pfn is None and not all and end - start > PAGE_SIZE:
            continue
        frame = frames.get(pfn or 0, {})
        pgoff = area.area["vm_pgoff"] + (addr - area.start >> PAGE_SHIFT)
        rows.append({
            "addr": addr, "file": area.area["node"], "offset": pgoff << PAGE_SHIFT,
            "host": area.host, "pagemap": [] if pfn is None else ["present"], "pfn": pfn,
            "swap": None, "flags": frame.get("flags"), "mapcount": frame.get("mapcount"),
            "refcount": frame.get("refcount"), "driver": frame.get("driver"),
            "allocation": frame.get("allocation"), "kind": frame.get("kind"),
            "order": frame.get("order"), "slab": frame.get("slab"),
            "mapped": [place for place in frame.get("mapped", []) if place != [pid, addr]],
        })  # fmt: skip
    return rows


def _print_pages(rows: list[dict[str, Any]]) -> None:
    if not rows:
        print("no page of it is in memory (--all shows those without a frame too)")
        return
    for file, host in dict.fromkeys((row["file"], row["host"]) for row in rows):
        print(visible(file or "anonymous memory") + (f"  (host {host})" if host else ""))
        mine = [row for row in rows if (row["file"], row["host"]) == (file, host)]
        print_table(
            ("address", "pfn", "mapcount", "pagemap", "flags" if host is None else "frame"),
            [(f"{row['addr']:012x}", _pfn(row), _or_dash(row["mapcount"]),
              " ".join(row["pagemap"]) or "none", _frame(row)) for row in mine],
            right=(1, 2),
        )  # fmt: skip


def _pfn(row: dict[str, Any]) -> str:
    if row["swap"]:
        return "swap {}:{:x}".format(*row["swap"])
    return "-" if row["pfn"] is None else f"{row['pfn']:x}"


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)


def _frame(row: dict[str, Any]) -> str:
    parts = [] if row["flags"] is None else [" ".join(row["flags"])]
    if row["host"] and row["driver"]:
        where = row["slab"] or row["kind"] or "freed"
        parts.insert(0, f"{row['driver']}: {where} order {row['order']} refs {row['refcount']}")
    if row["mapped"]:
        places = [f"{pid} at {addr:x}" for pid, addr in row["mapped"]]
        rest = len(places) - _MOST_PLACES
        more = f" and {rest} more" if rest > 0 else ""
        parts.append("also " + ", ".join(places[:_MOST_PLACES]) + more)
    return "; ".join(filter(None, parts))


# --- both ---------------------------------------------------------------------------------------


def _pid(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no process number")
    return int(text)


def _areas(pid: int, command: str, what: str, *rest: str) -> list[LiveArea]:
    try:
        found = read_areas(pid)
    except OSError as error:
        raise _failure(error, pid, command, what, *rest) from None
    if not found:
        raise _Failed(f"{pid}: {_OF_KERNEL_THREAD}")
    return found


def _failure(error: OSError, pid: int, command: str, what: str, *rest: str) -> _Failed:
    if error.errno in (errno.ENOENT, errno.ESRCH):
        return _Failed(f"{pid}: {os.strerror(errno.ESRCH)}")
    text = f"{pid}: {error.strerror}"
    if error.errno in (errno.EACCES, errno.EPERM):
        again = shlex.join(["sudo", sys.argv[0], command, str(pid), *rest])
        text += f"\n  root would see {what}: {again}"
    return _Failed(text)


def _complain(command: str, failed: _Failed) -> int:
    for line in str(failed).splitlines():
        start = "" if line.startswith(" ") else f"mapdev {command}: "
        print(f"{start}{visible(line)}", file=sys.stderr)
    return 1
