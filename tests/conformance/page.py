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
    Known,
    Pair,
    kernels,
    load_expected,
    load_known,
    normalise,
    reason_in_maps,
)
from .hosts import HOSTS

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"

_HEAD = """\
# Conformance

What programs see of a device on the {host} host, against what they saw on real kernels ({kernels}) of
a driver in C that does the same. A *row* is one question, such as "what does `munmap` of the middle
do?"; it is asked of each device, and the answer holds errors, data, signals, and how often each
operation of the driver ran. A pair of row and device is equal if the host answers as one of these
kernels does, to the letter. Left out are, in `/proc/PID/maps` and `smaps`, path, device number, inode,
VmFlags, and the sizes that follow from VmFlags (Rss, Private_Dirty).

This page is made from the data of the suite by `make conformance ARGS=--update`; a test fails when a
pair is not as it says. See `tests/conformance`.

## In numbers

"""

_DEVICES = """\

`pfn` maps by one remap_pfn_range, `vmalloc` by one for each page, `insert` by vm_insert_page, `inserts`
by vm_insert_pages; `fault` gives pages when they are touched, `faultpfn` inserts frames then. The
devices with one row or a few are called "others". `memfd` is no device: the same rows on a plain memfd
of the program's own, which the host has to leave alone. "But for maps" counts as equal what differs in
nothing but the offset or the number of areas that `/proc/PID/maps` shows.

## Why pairs differ

"""

_TABLE = """\

## What differs

What is the same on both sides is shown as "…". Where kernels differ among themselves, the host is
compared with the nearest.

| row | devices | kernel | {host} host | why |
| --- | --- | --- | --- | --- |
"""


def group_of(device: str) -> str:
    """The line of the summary in which a device is counted."""
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

    groups = (*COMMON_DEVICES, "others")
    yield from (count(group, group) for group in groups)
    yield count("all devices", *groups)
    yield count("memfd", "memfd")


def render(host: str) -> str:
    """The page, as it has to be."""
    expected, known = load_expected(), load_known(host)
    text = _HEAD.format(host=host, kernels=", ".join(name.split("-")[1] for name in kernels()))
    text += "| device | pairs | equal | | but for maps |\n| --- | --- | --- | --- | --- |\n"
    for count in summary(expected, known):
        bold = "**" if count.device == "all devices" else ""
        text += f"| {count.device} | {count.pairs} | {count.equal} | {bold}{count.share:.1%}{bold} "
        text += f"| {count.share_but_for_maps:.1%} |\n"
    text += _DEVICES + "| pairs | why |\n| --- | --- |\n"
    for reason, pairs in Counter(reason for _, reason in known.values()).most_common():
        text += f"| {pairs} | {reason} |\n"
    text += _TABLE.format(host=host)
    for (row, kernel, seen, reason), devices in _alike(expected, known).items():
        text += f"| {row} | {', '.join(devices)} | {_code(kernel)} | {_code(seen)} | {reason} |\n"
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
    PAGE.write_text(render(next(iter(HOSTS))))
