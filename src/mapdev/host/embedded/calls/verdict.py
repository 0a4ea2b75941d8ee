"""What a handler of a system call may answer besides a result."""

from __future__ import annotations

import enum
from collections.abc import Callable

from mapdev.host.embedded.kernel import Kernel
from mapdev.host.embedded.notify import Call
from mapdev.host.embedded.waiting import Waiting


class Verdict(enum.Enum):
    """How a call goes on."""

    PASS_ON = "the real kernel carries it out"
    ANSWERED = "the handler has answered it"


PASS_ON = Verdict.PASS_ON
ANSWERED = Verdict.ANSWERED

Result = int | Verdict | Waiting

Handler = Callable[[Kernel, Call], Result]
"""Returns the call's result, a `Verdict`, or what it waits for; raises OSError for the client's
errno."""


def signed32(value: int) -> int:
    """Read a register as C's int."""
    return (value & 0xFFFFFFFF ^ 1 << 31) - (1 << 31)


def signed64(value: int) -> int:
    """Read a register as C's long."""
    return (value ^ 1 << 63) - (1 << 63)
