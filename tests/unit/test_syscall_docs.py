"""docs/syscalls.md is current, and has every system call that the headers have."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from kernel_headers import numbers_of

from mapdev.host.embedded.arch import SUPPORTED
from mapdev.host.embedded.syscalls.table import SYSCALLS

ROOT = Path(__file__).parents[2]
NEWEST = 469  # file_setattr, Linux 6.17


@pytest.fixture(scope="module")
def tool() -> Any:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import syscall_docs
    finally:
        del sys.path[0]
    return syscall_docs


@pytest.fixture(scope="module")
def notes(tool: Any) -> Any:
    return tool.read(tool.NOTES.read_text())


def _described(notes: Any) -> list[str]:
    return [name for section in notes.sections.values() for note in section for name in note.calls]


def test_it_is_current(tool: Any, notes: Any) -> None:
    written = (ROOT / "docs" / "syscalls.md").read_text()
    assert written == tool.page(notes), "run python tools/syscall_docs.py > docs/syscalls.md"


def test_each_call_is_there_once(notes: Any) -> None:
    names = Counter(_described(notes)) + Counter(notes.others[0]) + Counter(notes.others[1])
    assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize("arch", SUPPORTED)
def test_each_call_of_the_headers_is_there(notes: Any, arch: str) -> None:
    known = numbers_of(arch)
    assert len(known) > 300
    names = {*_described(notes), *notes.others[0], *notes.others[1]}
    assert {name for name, number in known.items() if number <= NEWEST} <= names


def test_each_call_that_is_handed_over_is_described(notes: Any) -> None:
    assert {call.name for call in SYSCALLS} <= set(_described(notes))


def test_no_cell_breaks_its_table(tool: Any, notes: Any) -> None:
    for section in notes.sections.values():
        for note in section:
            assert all(row.count("|") == 6 for row in tool.rows(note))


@pytest.mark.parametrize(
    "block", ["read\n same: x", "read\n kernel: x", "read\n kernel: x\n here: y"]
)
def test_a_block_that_says_too_little_is_an_error(tool: Any, block: str) -> None:
    with pytest.raises(ValueError, match=r"syscalls\.txt"):
        tool.read(f"== A\n\n{block}\n\nx\n kernel: y\n same: z\n")
