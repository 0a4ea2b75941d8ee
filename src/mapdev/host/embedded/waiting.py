"""What a handler of a system call gives back when an operation of the driver has to wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from mapdev.host.dispatch import WouldWait
from mapdev.host.embedded.files import OpenFile


def _nothing() -> None:
    pass


class Waiting(NamedTuple):
    """An operation that waits, and how to go on with its call.

    :ivar again: runs the operation again; returns or raises as the handler did.
    :ivar so_far: what the call has transferred already, its result if a signal comes.
    :ivar abandon: called when the call ends without its operation.
    """

    wait: WouldWait
    file: OpenFile
    again: Callable[[], Any]
    so_far: int = 0
    abandon: Callable[[], None] = _nothing
