"""Makes the list of waits in ARCHITECTURE.md: python tools/waits.py

A wait is a call that may sleep until another process or thread does something. Each has a limit in
the call, or a reason in `REASONS` why it can't last for ever. What is missing there is an error.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- waits: begin -->\n", "<!-- waits: end -->\n"
NAMES = {"communicate", "flock", "join", "poll", "recv", "recv_fds", "select", "waitid", "waitpid"}
NAMES |= {"wait", "sigtimedwait"}
AT_ONCE = ("WNOHANG", "MSG_DONTWAIT")
# Not waits: other functions of that name, and those of ours that lead to one in the list.
OTHERS = {"super()", "of.driver", "operations", "shlex"}
TRACERS = ("host/embedded/inject/", "host/embedded/faults/", "host/embedded/interrupt.py")

_STOPS = "the thread was told to stop by ptrace: it stops, or dies; not while it sleeps in state D"
_CALLER = "the caller's own: it gives the limit"
_KILLED = "the process was sent SIGKILL"
REASONS = {
    "doctor/embedded.py _poll": "its input is closed, at which cat ends",
    "host/core/host.py Host.run": _KILLED,
    "host/embedded/files/fuse_mount.py _mount_elsewhere": "the socket's, 10 s; then SIGKILL",
    "host/embedded/inject/tracee.py Tracee._wait_alone": _STOPS,
    "host/embedded/inject/tracee.py Tracee._next_event": _STOPS,
    "host/embedded/inject/tracee.py Tracee.wait_for_death": "the thread runs exit, or was killed",
    "host/embedded/inject/worker.py Worker._receive": "called when there is a message",
    "host/embedded/syscalls/launch.py ClientProcess._ended": _CALLER,
    "host/embedded/syscalls/launch.py _Installer._is_received": "the host answers, or lets go of "
    "all clients (`Server.abandon`), or dies and the child with it (PR_SET_PDEATHSIG)",
    "host/embedded/syscalls/launch.py receive_listener": "called when there is a message",
    "host/process.py Process.end": _KILLED,
    "lab/start/use6.py ": "a program of the lab's: its own child, which has nothing to wait for",
    "interruption.py listening.listen": "ended by the code that it listens for",
    "interruption.py listening": "the thread was told to end",
    "host/core/clock.py Clock._run": "until the next alarm, or until the host ends",
    "linux/awaiting.py async_wait_event": "a coroutine: until it is cancelled",
    "linux/timer.py TimerList.wait": "until the function of a driver's timer has ended",
    "linux/timer.py timer_delete_sync": "until the function of a driver's timer has ended",
    "run.py _serve_all": "until a signal comes, which is what it is for",
    "run.py _wait": "until the command ends or a signal comes, which is what it is for",
    "support/cache.py made_once": "none: until another process has made the same file",
    "watch/beside.py Serving._follow": "until `stop`, which sets it before it waits for the thread",
    "watch/command.py _serve": "until Ctrl-C, which is what it is for",
    "vm/machine.py _qemu": "qemu has closed its ports, so it is about to end",
    "vm/machine.py _end": _KILLED,
}


class Wait(NamedTuple):
    """A call that may sleep; `limit` is the argument that bounds it, or the reason."""

    where: str
    call: str
    limit: str


def waits() -> Iterator[Wait]:
    """Find all waits in the package, in the order of its files."""
    for path in sorted((ROOT / "src/mapdev").rglob("*.py")):
        name = str(path.relative_to(ROOT / "src/mapdev"))
        yield from _in(ast.parse(path.read_text()), name, "")


def _in(node: ast.AST, file: str, function: str) -> Iterator[Wait]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _in(child, file, f"{function}.{child.name}".lstrip("."))
            continue
        if isinstance(child, ast.Call) and _waits(child, file):
            where = f"{file} {function}"
            yield Wait(where, ast.unparse(child), _limit(child) or REASONS.get(where, ""))
        yield from _in(child, file, function)


def _waits(call: ast.Call, file: str) -> bool:
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in NAMES:
        return False
    name, owner = call.func.attr, call.func.value
    what = ast.unparse(owner)
    if what in OTHERS or what.endswith("operations") or (name == "poll" and not call.args):
        return False
    if name == "wait" and not call.args and file.startswith(TRACERS):
        return False  # Tracee.wait
    if any(word in ast.unparse(call) for word in AT_ONCE):
        return False
    is_text = isinstance(owner, ast.Constant | ast.JoinedStr) or what.endswith("path")
    return not (name == "join" and is_text)


def _limit(call: ast.Call) -> str:
    assert isinstance(call.func, ast.Attribute)
    for keyword in call.keywords:
        if keyword.arg == "timeout":
            return _seconds(keyword.value)
    place = {"select": 3, "communicate": 1, "sigtimedwait": 1}.get(call.func.attr, 0)
    if call.func.attr == "select" and len(call.args) == 1:
        place = 0  # a selector's
    has = call.func.attr in ("wait", "join", "poll", "select", "communicate", "sigtimedwait")
    unbound = ast.unparse(call.func).startswith("subprocess.Popen.")
    if not has or unbound or len(call.args) <= place or "None" in ast.unparse(call.args[place]):
        return ""
    return _seconds(call.args[place])


def _seconds(argument: ast.expr) -> str:
    return f"`{ast.unparse(argument)}`"


def table() -> str:
    """Return the list as a Markdown table."""
    rows = [
        f"| `{where}` | `{call.replace('|', chr(92) + '|')}` | {limit} |\n"
        for where, call, limit in waits()
    ]
    return "| where | the wait | its limit |\n| --- | --- | --- |\n" + "".join(rows)


def updated(text: str) -> str:
    """Return the document with the list as it is now."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    missing = [wait for wait in waits() if not wait.limit]
    for wait in missing:
        print(f"no limit and no reason: {wait.where}: {wait.call}", file=sys.stderr)
    DOCUMENT.write_text(updated(DOCUMENT.read_text()))
    sys.exit(bool(missing))
