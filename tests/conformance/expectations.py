"""What is expected of a host, and what it is known to do differently: the data files, and comparing.

A pair is a row and a device. It is equal when the host gives what any one of the kernels gave.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.tsv"
KNOWN = HERE / "known_differences.tsv"
KNOWN_HEADER = ("host", "row", "device", "observed", "reason")

COMMON_DEVICES = ("pfn", "vmalloc", "insert", "inserts", "fault", "faultpfn")
FILE_DEVICES = ("nommap", "bare", "stream", "seekless", "ready", "commands", "refuse", "sensor")
UNEXPLAINED = "?"
"""How a reason begins that somebody has to write."""

NO_ANSWER = "no answer"
"""The observation of a row that the client never came to speak of."""

UNSTABLE = "*"
"""A known difference that is another one each time, so that nothing more can be said of it."""

NOT_ASKED = "-"
"""In expected.tsv: that kernel was not asked."""

CANNOT = "cannot: "
"""How an observation begins when the machine lacks what the row needs."""


class Pair(NamedTuple):
    """A row and the device that it is asked of."""

    row: str
    device: str

    def __str__(self) -> str:
        return f"{self.row}-{self.device}"


class Known(NamedTuple):
    """A known difference: what the host gives, and why."""

    observed: str
    reason: str


# No user-space host can make the kernel say these, and nothing but them is left out:
_UNCOMPARABLE = (
    # the file behind an area, as the kernel names it: device number, inode and path
    (re.compile(r" dev=\S+ ino=\S+ path=\S*(?: \(deleted\))?"), ""),
    (re.compile(r"readlink=/.*?(?= open=)"), "readlink=PATH"),
    # flags that only a driver in the kernel can set on an area (pf, io, mm, ...)
    (re.compile(r" ?VmFlags=[a-z?]{2}(?: [a-z?]{2}(?![\w=+]))*"), ""),
    # whether pages count as resident memory, which follows from those flags
    (re.compile(r" ?(?:Rss|Private_Dirty)=\d+ kB"), ""),
)


def normalise(observation: str) -> str:
    """Leave out of an observation what is not compared."""
    for pattern, replacement in _UNCOMPARABLE:
        observation = pattern.sub(replacement, observation)
    return observation.strip()


def _lines(path: Path) -> Iterable[list[str]]:
    for line in path.read_text().splitlines()[1:]:
        yield line.split("\t")


def kernels() -> list[str]:
    """The kernels whose observations are expected, by name and version."""
    return EXPECTED.read_text().split("\n", 1)[0].split("\t")[2:]


def load_expected() -> dict[Pair, list[str]]:
    """What each kernel gave, in the order of `kernels`; an empty field is as in the first.

    `NOT_ASKED` stands for a kernel that was not asked; nothing is equal to that.
    """
    return {
        Pair(row, device): [seen or first for seen in (first, *others)]
        for row, device, first, *others in _lines(EXPECTED)
    }


def record_expected(recorded: dict[Pair, dict[int, str]]) -> None:
    """Write down what kernels gave, by column; pairs that are new come last."""
    expected = load_expected()
    for pair, columns in recorded.items():
        seen = expected.setdefault(pair, [NOT_ASKED] * len(kernels()))
        for at, observation in columns.items():
            seen[at] = observation
    lines = ["\t".join(("row", "device", *kernels()))]
    for pair, (first, *others) in expected.items():
        fields = (first, *("" if seen == first else seen for seen in others))
        lines.append("\t".join((*pair, *fields)))
    EXPECTED.write_text("\n".join(lines) + "\n")


def load_known(host: str, kernel: str = "") -> dict[Pair, Known]:
    """What a host is known to do differently.

    :param kernel: "6.1" or the like: with what it does so on that kernel only.
    """
    names = {host, f"{host}-{kernel}"}
    return {
        Pair(row, device): Known(observed, reason)
        for name, row, device, observed, reason in _lines(KNOWN)
        if name in names
    }


def is_equal(observed: str, expected: list[str]) -> bool:
    """Whether an observation is what one of the kernels gave."""
    return normalise(observed) in map(normalise, expected)


# What only readers of /proc/PID/maps see, and why it is so where frames are pages of one file.
_IN_MAPS = (
    (
        re.compile(r" off=\S+"),
        "the area maps physical memory, which is one file: its offset is the frame's",
    ),
    (
        re.compile(r"nvma=\d+"),
        "areas are those of a file: scattered frames are several, and neighbours are merged",
    ),
)


def reason_in_maps(observed: str, expected: list[str]) -> str:
    """Why they differ, if only a reader of /proc/PID/maps sees that they do; else nothing."""
    kernels_saw = [normalise(seen) for seen in expected]
    for parts in (_IN_MAPS[:1], _IN_MAPS[1:], _IN_MAPS):

        def without(text: str, parts: Sequence[tuple[re.Pattern[str], str]] = parts) -> str:
            for pattern, _ in parts:
                text = pattern.sub("", text)
            return text

        if without(normalise(observed)) in map(without, kernels_saw):
            return "; ".join(reason for _, reason in parts)
    return ""


def updated(
    known: dict[Pair, Known], observed: dict[Pair, str], expected: dict[Pair, list[str]]
) -> dict[Pair, Known]:
    """The known differences that follow from a run.

    A reason is kept as long as the difference is the same. If it has changed, the reason is to be
    looked at again. A new difference gets the reason of its row, if all of the row have the same.
    """
    of_row: dict[str, set[str]] = {}
    for pair, (_, reason) in known.items():
        of_row.setdefault(pair.row, set()).add(reason)

    def reason_for(pair: Pair, seen: str) -> str:
        before = known.get(pair)
        if before and before.observed in (seen, UNSTABLE):
            return before.reason
        if reason := reason_in_maps(seen, expected[pair]):
            return reason
        if before:
            return f"{UNEXPLAINED} was: {before.reason.removeprefix(f'{UNEXPLAINED} was: ')}"
        reasons = of_row.get(pair.row, set())
        return next(iter(reasons)) if len(reasons) == 1 else UNEXPLAINED

    differences = {}
    for pair, seen in observed.items():
        if seen.startswith(CANNOT):
            if pair in known:  # it could not be asked: what was known is not refuted
                differences[pair] = known[pair]
        elif not is_equal(seen, expected[pair]):
            text = normalise(seen)
            same = pair not in known or known[pair].observed != UNSTABLE
            differences[pair] = Known(text if same else UNSTABLE, reason_for(pair, text))
    return differences


def save_known(host: str, differences: dict[Pair, Known]) -> None:
    """Write a host's known differences, and leave those of other hosts as they are."""
    others = [fields for fields in _lines(KNOWN) if fields[0] != host] if KNOWN.exists() else []
    ours = [[host, *pair, *known] for pair, known in differences.items()]
    lines = ["\t".join(fields) for fields in (list(KNOWN_HEADER), *others, *ours)]
    KNOWN.write_text("\n".join(lines) + "\n")
