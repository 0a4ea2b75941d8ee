"""What is expected of a host, and what it is known to do differently: the data files, and comparing.

A pair is a row and a device. It is equal when the host gives what any one of the kernels gave.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.tsv"
KNOWN = HERE / "known_differences.tsv"
KNOWN_HEADER = ("host", "row", "device", "observed", "reason")

COMMON_DEVICES = ("pfn", "vmalloc", "insert", "inserts", "fault", "faultpfn")
UNEXPLAINED = "?"
NO_ANSWER = "no answer"
"""The observation of a row that the client never came to speak of."""

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
    (re.compile(r" dev=\S+ ino=\S+ path=\S+(?: \(deleted\))?"), ""),
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
    """What each kernel gave, in the order of `kernels`; an empty field is as in the first."""
    return {
        Pair(row, device): [seen or first for seen in (first, *others)]
        for row, device, first, *others in _lines(EXPECTED)
    }


def load_known(host: str) -> dict[Pair, Known]:
    """What a host is known to do differently."""
    return {
        Pair(row, device): Known(observed, reason)
        for name, row, device, observed, reason in _lines(KNOWN)
        if name == host
    }


def is_equal(observed: str, expected: list[str]) -> bool:
    """Whether an observation is what one of the kernels gave."""
    return normalise(observed) in map(normalise, expected)


def updated(
    known: dict[Pair, Known], observed: dict[Pair, str], expected: dict[Pair, list[str]]
) -> dict[Pair, Known]:
    """The known differences that follow from a run; reasons that were given are kept.

    A new difference gets the reason of its row, if all known differences of the row have the same.
    """
    of_row: dict[str, set[str]] = {}
    for pair, (_, reason) in known.items():
        of_row.setdefault(pair.row, set()).add(reason)
    differences = {}
    for pair, seen in observed.items():
        if seen.startswith(CANNOT):
            if pair in known:  # it could not be asked: what was known is not refuted
                differences[pair] = known[pair]
        elif not is_equal(seen, expected[pair]):
            reasons = of_row.get(pair.row, set())
            reason = next(iter(reasons)) if len(reasons) == 1 else UNEXPLAINED
            reason = known[pair].reason if pair in known else reason
            differences[pair] = Known(normalise(seen), reason)
    return differences


def save_known(host: str, differences: dict[Pair, Known]) -> None:
    """Write a host's known differences, and leave those of other hosts as they are."""
    others = [fields for fields in _lines(KNOWN) if fields[0] != host] if KNOWN.exists() else []
    ours = [[host, *pair, *known] for pair, known in differences.items()]
    lines = ["\t".join(fields) for fields in (list(KNOWN_HEADER), *others, *ours)]
    KNOWN.write_text("\n".join(lines) + "\n")
