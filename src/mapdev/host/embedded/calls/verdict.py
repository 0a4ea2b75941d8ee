"""The type of system call handlers, and their answers besides a result: `PASS_ON`, `ANSWERED`."""

from __future__ import annotations

from collections.abc import Callable

from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import ANSWERED, PASS_ON, Call, Verdict

__all__ = ["ANSWERED", "PASS_ON", "Handler", "Result", "Verdict", "signed32", "signed64"]

Result = int | Verdict

Handler = Callable[[Subsystems, Call], Result]
"""Returns the call's result or a `Verdict`; raises OSError for the client's errno, WouldWait if an
operation of the driver has to wait."""


def signed32(value: int) -> int:
    """Read a register as C's int."""
    return (value & 0xFFFFFFFF ^ 1 << 31) - (1 << 31)


def signed64(value: int) -> int:
    """Read a register as C's long."""
    return (value ^ 1 << 63) - (1 << 63)
