"""Tells what the debug kernel found: reads its log, and what a run has left in its directory."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import kernel

START = re.compile(
    r"BUG\b|WARNING: |INFO: (?!lockdep is turned off)|KASAN: |UBSAN: |ODEBUG: |Oops|Kernel panic"
    r"|Kernel mode fault|general protection|Bad page|refcount_t: |list_(add|del)\b.*corruption"
    r"|soft lockup|workqueue lockup|self-detected stall|Objects remaining|unlock balance"
    r"|locks? held|tried to init an initialized object|does not have a release\(\)|DEBUG_LOCKS_WARN"
)
# What the kernel says of itself, or of others, and is no finding.
HARMLESS = re.compile(r"DEBUG_LOCKS_WARN_ON.*=0|debug-kernel: ")
STAMP = re.compile(r"^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
LONGEST = 400  # lines of a finding

# What only looks like a call, and what is on the stack but tells nothing.
NOISE = re.compile(r"^ \[<[0-9a-f]+>\] \? |^Stack:| [0-9a-f]{8} [0-9a-f]{8} [0-9a-f]{8}")

# Where a page is the kernel's own, though the module was what made the kernel take it.
NOT_OURS = re.compile(r"allocate_slab|new_slab|pte_alloc_kernel|pmd_alloc|stack_depot|pcpu_")


@dataclass
class Finding:
    """Something that should not be: its first line says what."""

    lines: list[str]
    count: int = 1

    @property
    def key(self) -> tuple[str, ...]:
        """What two findings of the same thing have in common: the functions, not the addresses."""
        names = [re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+", "", line) for line in self.lines]
        return tuple(names[:1] + [name for name in names if "+/" in name])


def find(log: str) -> list[Finding]:
    """Find what the kernel complained about in its log."""
    findings: list[Finding] = []
    current: list[str] = []
    traced = ends_with_rule = False
    for stamped in log.splitlines():
        line = STAMP.sub("", stamped.rstrip())
        starts = START.search(line) is not None and not HARMLESS.search(line)
        rule = line.startswith(("=====", "-----"))
        if current:
            over = (
                len(current) >= LONGEST
                or line.startswith(("---[ end trace", "debug-kernel: "))
                or (rule and ends_with_rule and len(current) > 3)
                or (traced and not ends_with_rule and line[:1] not in (" ", ""))
            )
            if not over:
                if not NOISE.search(line):
                    current.append(line)
                traced = traced or line.startswith("Call Trace")
                continue
            current = []
        if starts:
            current = [line]
            traced, ends_with_rule = False, "KASAN" in line
            findings.append(Finding(current))
    return findings


def paragraphs(text: str, first: str, keep: Callable[[str], bool]) -> list[Finding]:
    """Make a finding of each entry, which begins with the word `first`."""
    entries = re.split(rf"^(?={first})", text, flags=re.MULTILINE)
    kept = [entry for entry in entries if first in entry and keep(entry)]
    return [Finding(entry.rstrip().splitlines()) for entry in kept]


def collect(directory: Path, module: Path | None, tree: Path) -> list[Finding]:
    """Give all that a run found, each thing once, with lines of the module's source."""

    def read(name: str) -> str:
        file = directory / name
        return file.read_text(errors="replace") if file.exists() else ""

    findings = find(read("console"))
    findings += paragraphs(read("kmemleak"), "unreferenced object", lambda _: True)
    findings += paragraphs(read("page_owner"), "Page allocated", lambda e: not NOT_OURS.search(e))
    if trouble := read("trouble"):
        findings.append(Finding(trouble.splitlines()))
    different: dict[tuple[str, ...], Finding] = {}
    for finding in findings:
        if finding.key in different:
            different[finding.key].count += 1
        else:
            different[finding.key] = finding
    if module:
        for finding in different.values():
            add_places(finding, module, tree)
    return list(different.values())


def add_places(finding: Finding, module: Path, tree: Path) -> None:
    """Write file and line behind the module's functions."""
    pattern = re.compile(rf"(\S+\+0x[0-9a-f]+)(?:/0x[0-9a-f]+)? \[(?:{module.stem}|unloaded)\]")
    calls = {match[1]: "" for line in finding.lines for match in pattern.finditer(line)}
    places = kernel.resolve(tree, module, list(calls))
    finding.lines = [
        pattern.sub(lambda m: f"{m[0]} {places.get(m[1], '')}".rstrip(), line)
        for line in finding.lines
    ]


def show(findings: list[Finding], directory: Path | None) -> None:
    """Print the findings, and how many there are."""
    for number, finding in enumerate(findings, 1):
        times = f", {finding.count} times" if finding.count > 1 else ""
        print(f"\n--- finding {number} of {len(findings)}{times}", *finding.lines, sep="\n  ")
    sys.stdout.flush()
    kernel.say(f"{len(findings) or 'no'} finding{'s' * (len(findings) != 1)}")


# Mistakes of faults.c, and what the kernel calls them.
SELF_TEST = {
    "none": "",
    "use-after-free": "KASAN: slab-use-after-free",
    "out-of-bounds": "KASAN: slab-out-of-bounds",
    "vmalloc-out-of-bounds": "KASAN: vmalloc-out-of-bounds",
    "freed-page": "KASAN: use-after-free",
    "double-free": "KASAN: double-free",
    "lock-order": "possible circular locking dependency",
    "lock-kept": "still has locks held",
    "sleep-in-atomic": "sleeping function called from invalid context",
    "list": "list_add",
    "active-timer": "ODEBUG: free active",
    "warning": "WARNING: ",
    "oops": "Kernel panic",
    "hung-task": "blocked for more than",
    "pinned": "can't be unloaded",
    "leak": "unreferenced object",
    "page-leak": "Page allocated",
}
