"""Handlers of system calls, by name; each file has one family.

A handler returns the call's result or a `Verdict`, or raises OSError. It sees one call at a time:
the host's thread runs them one after another.

But for paths, a family is imported when its first call comes, so that programs start sooner.
"""

from __future__ import annotations

from importlib import import_module

from mapdev.host.embedded.arch import NUMBER_OF
from mapdev.host.embedded.calls import path
from mapdev.host.embedded.calls.verdict import ANSWERED, PASS_ON, Handler, Result, Verdict
from mapdev.host.embedded.filter import (
    ON_AREA,
    ON_DESCRIPTOR,
    ON_HIGH_DESCRIPTOR,
    ON_TWO_DESCRIPTORS,
    SOCKET_CALLS,
)
from mapdev.host.embedded.kernel import Kernel
from mapdev.host.embedded.notify import Call

__all__ = ["ANSWERED", "HANDLERS", "PASS_ON", "Handler", "Verdict"]

_DUP = ("dup", "dup2", "dup3")
LATER = {
    "file": (*(name for name in ON_DESCRIPTOR if name not in _DUP), *ON_HIGH_DESCRIPTOR,
             *ON_TWO_DESCRIPTORS),
    "descriptor": (*_DUP, "fcntl", "epoll_ctl", "pidfd_getfd", *SOCKET_CALLS),
    "mapping": ("mmap", "remap_file_pages", "io_uring_setup", "chroot", "pivot_root", "setns",
                "unshare"),
    "area": ON_AREA,
    "remap": ("mremap",),
    "process": ("fork", "clone", "clone3", "exit"),
}  # fmt: skip
"""The calls of each family, by the name of its file."""


def _later(family: str, name: str) -> Handler:
    """Make a handler that imports its `family`, and leaves its place to the one that is there."""

    def handle(kernel: Kernel, call: Call) -> Result:
        handlers: dict[str, Handler] = import_module(f"{__name__}.{family}").HANDLERS
        HANDLERS[NUMBER_OF[name]] = handler = handlers[name]
        return handler(kernel, call)

    return handle


_BY_NAME = (
    path.HANDLERS
    | {name: _later(family, name) for family, names in LATER.items() for name in names}
)  # fmt: skip

HANDLERS: dict[int, Handler] = {
    NUMBER_OF[name]: handler for name, handler in _BY_NAME.items() if name in NUMBER_OF
}
