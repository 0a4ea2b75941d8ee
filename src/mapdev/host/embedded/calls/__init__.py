"""Handlers of system calls, by name; each file has one family.

A handler returns the call's result or a `Verdict`, or raises OSError. It sees one call at a time:
the host's thread runs them one after another.
"""

from __future__ import annotations

from mapdev.host.embedded.arch import NUMBER_OF
from mapdev.host.embedded.calls import area, descriptor, file, mapping, path, process, remap
from mapdev.host.embedded.calls.verdict import ANSWERED, PASS_ON, Handler, Verdict

__all__ = ["ANSWERED", "HANDLERS", "PASS_ON", "Handler", "Verdict"]

_BY_NAME = (
    path.HANDLERS | file.HANDLERS | descriptor.HANDLERS | mapping.HANDLERS | area.HANDLERS
    | remap.HANDLERS | process.HANDLERS
)  # fmt: skip

HANDLERS: dict[int, Handler] = {
    NUMBER_OF[name]: handler for name, handler in _BY_NAME.items() if name in NUMBER_OF
}
