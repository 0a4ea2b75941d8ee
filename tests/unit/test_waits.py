"""The list of waits in ARCHITECTURE.md is current, and each wait has a limit or a reason."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> Any:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import waits
    finally:
        del sys.path[0]
    return waits


def test_each_wait_has_a_limit_or_a_reason(tool: Any) -> None:
    assert [wait for wait in tool.waits() if not wait.limit] == []


def test_no_reason_is_left_over(tool: Any) -> None:
    assert set(tool.REASONS) <= {wait.where for wait in tool.waits()}


def test_the_list_is_current(tool: Any) -> None:
    text = tool.DOCUMENT.read_text()
    assert tool.updated(text) == text, "run python tools/waits.py"


@pytest.mark.parametrize(
    ("source", "limit"),
    [
        ("process.wait()", ""), ("process.wait(5)", "`5`"), ("process.wait(timeout=x)", "`x`"),
        ("select.select([a], [], [])", ""), ("select.select([a], [], [], 1)", "`1`"),
        ("poller.poll(None)", ""), ("end.recv(1)", ""), ("thread2.join()", ""),
    ],
)  # fmt: skip
def test_what_is_a_wait(tool: Any, source: str, limit: str) -> None:
    (wait,) = tool._in(ast.parse(source), "file.py", "function")
    assert wait.limit == limit


@pytest.mark.parametrize(
    "source", ["', '.join(words)", "os.path.join(a)", "os.waitpid(1, os.WNOHANG)", "process.poll()"]
)
def test_what_is_none(tool: Any, source: str) -> None:
    assert list(tool._in(ast.parse(source), "file.py", "function")) == []
