"""Handles seccomp(2), and prctl(2) with PR_SET_SECCOMP: clients that install filters of their own.

Such a filter sees each call that the gate makes, and may not allow those with which the gate looks
at a path. So calls of that client are redirected to the gate no longer.
"""

from __future__ import annotations

from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Verdict
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call


def _install(kernel: Subsystems, call: Call) -> Verdict:
    if kernel.gate is not None:
        kernel.gate.close_in(call.tid)
    return PASS_ON


HANDLERS: dict[str, Handler] = {"seccomp": _install, "prctl": _install}
