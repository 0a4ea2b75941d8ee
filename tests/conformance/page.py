"""docs/conformance.md, made from the data files: how many pairs are equal, and which are not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

from .expectations import (
    COMMON_DEVICES,
    FILE_DEVICES,
    Known,
    Pair,
    kernels,
    load_expected,
    load_known,
    normalise,
    reason_in_maps,
)

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"

_HEAD = """\
# Conformance

What programs see of a device that is served by mapdev, on the embedded host and on the kernel host,
against what they saw on real kernels ({kernels}) of a driver in C that does the same. A *row* is one question, such as "what does `munmap` of the middle
do?"; it is asked of each device, and the answer holds errors, data, signals, and how often each
operation of the driver ran. A pair of row and device is equal if the host answers as one of these
kernels does, to the letter. Left out are, in `/proc/PID/maps` and `smaps`, path, device number, inode,
VmFlags, and the sizes that follow from VmFlags (Rss, Private_Dirty).

This page is made from the data of the suite by `make conformance ARGS=--update`; a test fails when a
pair is not as it says: here for the embedded host, in virtual machines with Linux 6.12 for the kernel
host, and with 6.1 and 6.12 for the driver in C (`tests/conformance/reference`). See `tests/conformance`.

## In numbers

"""

_DEVICES = """\

`pfn` maps by one remap_pfn_range, `vmalloc` by one for each page, `insert` by vm_insert_page, `inserts`
by vm_insert_pages; `fault` gives pages when they are touched, `faultpfn` inserts frames then. The
devices with one row or a few are called "others". "files" are devices that are not mapped: `nommap` can
be read, written and positioned, `seekless` has a position and no lseek, `stream` has none, `ready` is a
stream with a poll operation, `commands` takes all ioctl commands and has fsync, flush and fasync,
`bare` has open and release alone, and the open operation of `refuse` fails as told; `sensor` has, besides,
a device of a class in /sys, with attributes. Their rows are about
opening, reading, polling, locks, attributes, uevents and the like; they were asked of Linux 6.1 and 6.12. `memfd` is no device: the same rows on a plain memfd
of the program's own, which the host has to leave alone.

What is the same on both sides is shown as "…". Where kernels differ among themselves, a host is
compared with the nearest.
"""

_TABLE = """\

## What differs

"=" is what the kernel answers.

| row | devices | kernel | {titles} | why |
| --- | --- | --- | {rule} | --- |
"""

_WHY = """\

## Why

| pairs | host | why |
| --- | --- | --- |
"""
# Hosts on the page, and what holds on one kernel only.
_TITLES = {"kernel-host": "kernel host", "embedded": "embedded host"}
_KERNELS = {"kernel-host": ("6.1",)}


def group_of(device: str) -> str:
    """The line of the summary in which a device is counted."""
    if device in FILE_DEVICES:
        return "files"
    return device if device in (*COMMON_DEVICES, "memfd") else "others"


class Count(NamedTuple):
    """How many pairs of a device are equal."""

    device: str
    pairs: int
    equal: int
    maps_alone: int  # pairs that differ in nothing but what /proc/PID/maps shows

    @property
    def share(self) -> float:
        return self.equal / self.pairs

    @property
    def share_but_for_maps(self) -> float:
        return (self.equal + self.maps_alone) / self.pairs


def summary(expected: dict[Pair, list[str]], known: dict[Pair, Known]) -> Iterator[Count]:
    """The counts of each device, and of all devices; a memfd is none."""

    def count(name: str, *groups: str) -> Count:
        pairs = [pair for pair in expected if group_of(pair.device) in groups]
        different = [pair for pair in pairs if pair in known]
        maps = [p for p in different if reason_in_maps(known[p].observed, expected[p])]
        return Count(name, len(pairs), len(pairs) - len(different), len(maps))

    groups = (*COMMON_DEVICES, "others", "files")
    yield from (count(group, group) for group in groups)
    yield count("all devices", *groups)
    yield count("memfd", "memfd")


def render() -> str:
    """The page, as it has to be."""
    expected = load_expected()
    known = {host: load_known(host) for host in _TITLES}
    text = _HEAD.format(kernels=", ".join(name.split("-")[1] for name in kernels()))
    titles = _TITLES.values()
    text += f"| device | pairs | {' | '.join(titles)} |\n| --- | ---{' | ---' * len(titles)} |\n"
    for counts in zip(*(summary(expected, known[host]) for host in _TITLES), strict=True):
        bold = "**" if counts[0].device == "all devices" else ""
        text += f"| {counts[0].device} | {counts[0].pairs} |"
        for count in counts:
            text += f" {bold}{count.share:.1%}{bold} ({count.equal}) |"
        text += "\n"
    return text + _DEVICES + _differences(expected, known) + _reasons(known)


def _differences(expected: dict[Pair, list[str]], known: dict[str, dict[Pair, Known]]) -> str:
    rule = " | ".join("---" for _ in _TITLES)
    text = _TABLE.format(titles=" | ".join(_TITLES.values()), rule=rule)
    for host in _TITLES:
        for (row, kernel, seen, reason), devices in _alike(expected, known[host]).items():
            cells = {host: _code(seen)}
            for other in _TITLES.keys() - {host}:
                too = any(Pair(row, device) in known[other] for device in devices)
                cells[other] = "differs too" if too else "="
            answers = " | ".join(cells[title] for title in _TITLES)
            text += f"| {row} | {', '.join(devices)} | {_code(kernel)} | {answers} | {reason} |\n"
    return text


def _reasons(known: dict[str, dict[Pair, Known]]) -> str:
    text = _WHY
    for host, title in _TITLES.items():
        for reason, pairs in Counter(reason for _, reason in known[host].values()).most_common():
            text += f"| {pairs} | {title} | {reason} |\n"
    for host, several in _KERNELS.items():
        for series in several:
            more = load_known(host, series)
            there = {pair: why for pair, why in more.items() if pair not in known[host]}
            text += (
                f"\nOn the {_TITLES[host]} with Linux {series} also {', '.join(map(str, there))}: "
            )
            text += "; ".join(reason for _, reason in there.values()) + ".\n"
    return text


def _alike(
    expected: dict[Pair, list[str]], known: dict[Pair, Known]
) -> dict[tuple[str, str, str, str], list[str]]:
    """Differences that are the same for several devices, with those devices."""
    alike: dict[tuple[str, str, str, str], list[str]] = {}
    for pair in sorted(known, key=list(expected).index):
        observed, reason = known[pair]
        ours = _words(observed)
        kernel = max(
            (_words(normalise(seen)) for seen in expected[pair]),
            key=lambda words: SequenceMatcher(None, words, ours).ratio(),
        )
        shown = _difference(kernel, ours)
        alike.setdefault((pair.row, *shown, reason), []).append(pair.device)
    return alike


def _words(observation: str) -> list[str]:
    """The parts of an observation; counters in brackets are one."""
    return re.findall(r"[^\s\[]+\[[^\]]*\]|\S+", observation)


def _difference(kernel: list[str], ours: list[str]) -> tuple[str, str]:
    """Both sides, with what is the same left out."""
    sides: tuple[list[str], list[str]] = [], []
    matcher = SequenceMatcher(None, kernel, ours, autojunk=False)
    for tag, k1, k2, o1, o2 in matcher.get_opcodes():
        sides[0].extend(["…"] if tag == "equal" else kernel[k1:k2])
        sides[1].extend(["…"] if tag == "equal" else ours[o1:o2])
    return " ".join(sides[0]), " ".join(sides[1])


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def write_page() -> None:
    """Write docs/conformance.md."""
    PAGE.write_text(render())
