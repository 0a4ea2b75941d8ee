"""Figures, their comparison, and how they are shown: statistics, the table, the JSON file.

A benchmark has several rounds; in each of them both sides run, one after the other, and the median
of a side's batches is its figure of that round. A ratio is made for each round and the median of
those is the result, so that noise which lasts longer than a round cancels out. What is shown in
brackets is the lowest and the highest of all rounds.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

_UNITS = {"time": ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1, "ns")), "KiB": ((1024, "MiB"),)}


@dataclass
class Row:
    """One comparison.

    :ivar ours, theirs: a figure for each round; nanoseconds, unless `unit` says otherwise.
    :ivar least, most: what the ratio ours/theirs should be within; without, it is only reported.
    :ivar limit: what `ours` should be below.
    :ivar why_not: why it was not measured.
    """

    what: str
    against: str = ""
    ours: Sequence[float] = ()
    theirs: Sequence[float] = ()
    most: float | None = None
    least: float | None = None
    limit: float | None = None
    unit: str = "time"
    why_not: str = ""
    benchmark: str = field(default="", kw_only=True)

    @property
    def ratios(self) -> list[float]:
        return [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=False)]

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None when there is none or nothing was measured."""
        if self.why_not or not self.ours:
            return None
        if self.limit is not None:
            return statistics.median(self.ours) <= self.limit
        if self.most is None or not self.ratios:
            return None
        return (self.least or 0) <= statistics.median(self.ratios) <= self.most

    @property
    def goal(self) -> str:
        if self.limit is not None:
            return f"at most {show(self.limit, self.unit)}"
        if self.most is None:
            return "-"
        return f"{self.least:.2f} to {self.most:.2f}" if self.least else f"at most {self.most:.2f}"

    def cells(self) -> list[str]:
        """Give the columns of the table, `COLUMNS`."""
        if self.why_not:
            return [self.what, self.against, "not measured", self.why_not, "", self.goal, ""]
        ratio = _spread([f"{value:.2f}" for value in _three(self.ratios)]) if self.theirs else ""
        met = {True: "yes", False: "no", None: ""}[self.met]
        figures = [
            _spread([show(value, self.unit) for value in _three(values)]) if values else ""
            for values in (self.ours, self.theirs)
        ]
        return [self.what, self.against, *figures, ratio, self.goal, met]

    def as_json(self) -> dict[str, Any]:
        return {
            "benchmark": self.benchmark, "what": self.what, "against": self.against,
            "unit": "ns" if self.unit == "time" else self.unit, "ours": list(self.ours),
            "theirs": list(self.theirs), "ratio": statistics.median(self.ratios or [0]) or None,
            "goal": self.goal, "met": self.met, "why_not_measured": self.why_not or None,
        }  # fmt: skip


COLUMNS = ("what", "against", "mapdev", "the other", "ratio", "goal", "met")


def show(value: float, unit: str) -> str:
    """Give a figure with three digits and its unit."""
    size, name = next((pair for pair in _UNITS[unit] if value >= pair[0]), _UNITS[unit][-1])
    return f"{value / size:.3g} {name}" if value < 1000 * size else f"{value / size:.0f} {name}"


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def _spread(texts: Sequence[str]) -> str:
    middle, low, high = texts
    return middle if low == high else f"{middle} [{low}, {high}]"


def machine() -> dict[str, Any]:
    """Say where and when this was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "processor": models[0] if models else platform.machine(),
        "load": round(os.getloadavg()[0], 1),
        "python": f"{platform.python_version()} ({os.path.realpath(sys.executable)})",
    }  # fmt: skip


def print_table(
    rows: Iterable[Row], markdown: bool = False, where: dict[str, Any] | None = None
) -> None:
    """Print all rows, as a table for people or as Markdown; `where` they are from, if not here."""
    about = ", ".join(f"{name} {value}" for name, value in (where or machine()).items())
    if markdown:
        print(f"{about}\n\n| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
        for row in rows:
            print(f"| {' | '.join(row.cells())} |")
        return
    table = Table(caption=f"median \\[lowest, highest round]; {about}", show_lines=False)
    for name in COLUMNS:
        table.add_column(name, overflow="fold")
    last = ""
    for row in rows:
        if row.benchmark != last:
            table.add_section()
            table.add_row(f"[bold]{row.benchmark}")
            last = row.benchmark
        style = {True: "green", False: "red", None: ""}[row.met]
        cells = [cell.replace("[", "\\[") for cell in row.cells()]
        table.add_row(*cells[:-1], f"[{style}]{cells[-1]}[/]" if style else cells[-1])
    console = Console()
    Console(width=max(console.width, 150)).print(table)


def save(rows: Iterable[Row], path: Path, where: dict[str, Any] | None = None) -> None:
    """Write everything, each round's figures included."""
    path.parent.mkdir(exist_ok=True)
    result = {"machine": where or machine(), "rows": [row.as_json() for row in rows]}
    path.write_text(json.dumps(result, indent=1) + "\n")
