"""Makes the gate: code in clients that passes on system calls which concern no device.

A page at a fixed address, from which the filter lets calls with paths and on low descriptors pass
(`START` to `END`). Code there (native/gate.c) compares the names in a path with those of the host,
and makes the call itself if it surely concerns no device; the host redirects calls of the C library
and the loader to it (native/redirect.c). Everything else, and every client in which that can't be
done, is handed over as without it. Needs the C extension.

Objects: one `Gate` of the extension for a host. What it shows clients (names, `State`) is changed
by the host's thread, but for names, which any thread may add.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.files.paths import PROC_LIKE
from mapdev.host.embedded.native import NATIVE, WHY_NOT
from mapdev.host.embedded.processes import read_file
from mapdev.host.embedded.syscalls.table import BY_NUMBER, GATE_RULES, NO_FLAGS, Syscall

if TYPE_CHECKING:
    from mapdev._native import Gate, Names

__all__ = [
    "CAREFUL",
    "END",
    "FILES",
    "START",
    "VISITORS",
    "Rule",
    "description",
    "make_gate",
    "why_not",
]

START, END = 0x1E0000, 0x1E1000  # GATE in native/gate.h, and the end of its page of code

# Why calls are handed over that otherwise are not: enum gate_state in native/gate.h.
FILES, CAREFUL, VISITORS = 2, 8, 16

_NOWHERE = 0xFF

Rule = tuple[int, int, int, int, int, int, bool, bool]
"""Number, rule, arguments with descriptor, path and bits, the bits; whether links in the last place
are followed, and whether it may open a directory to list it."""


def why_not() -> str:
    """Return why there can be no gate on this machine; empty if there can."""
    if NATIVE is None:
        return f"the C extension is not in use: {WHY_NOT}"
    if not ARCH.HAS_GATE:
        return "there is none for this processor"
    return ""


def description(is_wanted: bool) -> str:
    """Return a line for the user: whether the gate is in use, and if not, why."""
    why = why_not() if is_wanted else "with --no-preload"
    if not why:
        return "programs pass on calls of no device themselves"
    return f"each call with a path is handed over: {why}"


def _rule(number: int, call: Syscall) -> Rule:
    rule = GATE_RULES[call.name]
    if call.paths:
        ((directory, path),) = call.paths
        bits_at = _NOWHERE if call.flags == NO_FLAGS else call.flags
        at = _NOWHERE if directory is None else directory, path
        return number, rule, *at, bits_at, call.nofollow, call.follows, call.is_listing
    (fd,) = call.fds
    bits_at = call.flags if call.areas else _NOWHERE
    return number, rule, fd, _NOWHERE, bits_at, call.areas, False, False


def make_gate(names: Names | None, base: int, secret: int) -> Gate | None:
    """Return the gate of a host, None if there can be none here.

    :param names: by which a path may lead to something of the host's.
    :param base: the first number of the device range.
    :param secret: marks the host's own calls.
    """
    if names is None or NATIVE is None or why_not():
        return None
    rules = [_rule(number, call) for number, call in BY_NUMBER.items() if call.name in GATE_RULES]
    prefixes = [path.encode() for path in PROC_LIKE]
    try:
        gate: Gate = NATIVE.Gate(names, rules, prefixes, base, secret, _filters_of_clients())
    except OSError:
        return None  # no descriptor or no memory is left: it can be done without
    return gate


def _filters_of_clients() -> int:
    """Return how many seccomp filters a client has that has installed none itself."""
    for line in read_file("/proc/self/status").splitlines():
        if line.startswith(b"Seccomp_filters:"):
            return int(line.split()[1]) + 1
    return 1  # before Linux 5.10, where nobody looks at it
