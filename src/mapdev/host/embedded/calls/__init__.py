"""Handlers of system calls; each file has one family, as `syscalls.table` says.

A handler returns the call's result or a `Verdict`, or raises OSError. It sees one call at a time:
the host's thread runs them one after another.

But for paths, a family is imported when its first call comes, so that programs start sooner.
"""

from __future__ import annotations

from importlib import import_module

from mapdev.host.embedded.calls import path
from mapdev.host.embedded.calls.verdict import ANSWERED, PASS_ON, Handler, Result, Verdict
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.embedded.syscalls.table import BY_NUMBER

__all__ = ["ANSWERED", "HANDLERS", "PASS_ON", "Handler", "Verdict"]


def _later(number: int, name: str, family: str) -> Handler:
    """Make a handler that imports its `family`, and leaves its place to the one that is there."""

    def handle(kernel: Subsystems, call: Call) -> Result:
        handlers: dict[str, Handler] = import_module(f"{__name__}.{family}").HANDLERS
        HANDLERS[number] = handler = handlers[name]
        return handler(kernel, call)

    return handle


HANDLERS: dict[int, Handler] = {
    number: path.HANDLERS[call.name] if call.family == "path"
    else _later(number, call.name, call.family)
    for number, call in BY_NUMBER.items()
}  # fmt: skip
