"""docs/troubleshooting.md has each message that mapdev logs, prints or refuses a driver with."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/mapdev"
PAGE = " ".join((ROOT / "docs/troubleshooting.md").read_text().split())
LONGEST = 40  # characters that have to be the same
SHORTEST = 8  # characters of a message that say which it is

LOGGED = {"warning", "error", "exception", "critical"}  # of `log`
SAID = {"say_once": 2, "say_of": 2, "_complain": 0}  # which argument is the text
RAISED = {"DriverError"}
# Files whose messages go to somebody else: doctor and vm explain themselves.
OTHERS = ("doctor/", "vm/", "module/", "inspect/", "support/", "gallery.py")
OURS = "please report it"  # one entry for all errors of the host itself


def texts(node: ast.expr) -> Iterator[str]:
    """Give what a message may be, with a placeholder for each part that is not constant."""
    match node:
        case ast.Constant(value=str(text)):
            yield re.sub(r"%[-0-9.]*[a-z]", "{}", text)
        case ast.JoinedStr(values=values):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in values
            )
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            yield from (a + b for a in texts(left) for b in texts(right))
        case ast.IfExp(body=body, orelse=other):
            yield from (*texts(body), *texts(other))


def message_of(call: ast.Call) -> ast.expr | None:
    """Give the argument of a call that is a message, if it says one."""
    match call.func:
        case ast.Attribute(attr=name, value=ast.Name(id="log")) if name in LOGGED:
            return call.args[0]
        case ast.Attribute(attr=name) | ast.Name(id=name) if name in SAID:
            return call.args[SAID[name]] if len(call.args) > SAID[name] else None
        case ast.Name(id=name) if name in RAISED:
            return call.args[0]
        case ast.Name(id="TypeError" | "ValueError"):
            return call.args[0] if call.args else None
    return None


def messages() -> list[tuple[str, str]]:
    """Give each message, with the place where it stands."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        name = str(path.relative_to(SOURCE))
        if name.startswith(OTHERS):
            continue
        declares = name in ("declaration.py", "commands.py")
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or (text := message_of(node)) is None:
                continue
            is_error = isinstance(node.func, ast.Name) and node.func.id.endswith("Error")
            if is_error and node.func.id not in RAISED and not declares:  # type: ignore[attr-defined]
                continue
            found += [(f"{name}:{node.lineno}", one) for one in texts(text)]
    return found


def key(message: str) -> str:
    """Give what a message is found by: the beginning of its longest constant part, whole words."""
    longest = max((part.strip(" :;,.()'?") for part in message.split("{}")), key=len)
    return longest if len(longest) <= LONGEST else longest[:LONGEST].rpartition(" ")[0]


MESSAGES = [
    (place, text) for place, text in messages() if OURS not in text and len(key(text)) >= SHORTEST
]


def test_messages_are_found() -> None:
    assert len(MESSAGES) > 60
    assert {"core/operations.py", "declaration.py"} <= {
        place.partition(":")[0].removeprefix("host/") for place, _ in MESSAGES
    }


@pytest.mark.parametrize(("place", "text"), MESSAGES, ids=lambda value: str(value)[:60])
def test_a_message_is_on_the_page(place: str, text: str) -> None:
    assert key(text) in PAGE, f"{place}: {text}"
