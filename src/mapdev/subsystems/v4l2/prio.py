"""Priorities of files: who may change settings while another program has claimed more.

Source: drivers/media/v4l2-core/v4l2-dev.c (v4l2_prio_change and its relatives)
"""

from __future__ import annotations

import errno

from mapdev.subsystems.v4l2 import constants as c

__all__ = [
    "V4l2PrioState", "v4l2_prio_change", "v4l2_prio_check", "v4l2_prio_close", "v4l2_prio_max",
    "v4l2_prio_open",
]  # fmt: skip

_VALID = (c.V4L2_PRIORITY_BACKGROUND, c.V4L2_PRIORITY_INTERACTIVE, c.V4L2_PRIORITY_RECORD)


class V4l2PrioState:
    """How many open files have each priority: ``struct v4l2_prio_state``.

    Source: include/media/v4l2-dev.h
    """

    def __init__(self) -> None:
        """Count none."""
        self.prios = dict.fromkeys(_VALID, 0)


def v4l2_prio_open(state: V4l2PrioState) -> int:
    """Count a file that was opened; give its priority, the usual one.

    Source: drivers/media/v4l2-core/v4l2-dev.c
    """
    state.prios[c.V4L2_PRIORITY_DEFAULT] += 1
    return c.V4L2_PRIORITY_DEFAULT


def v4l2_prio_close(state: V4l2PrioState, local: int) -> None:
    """Stop counting a file.

    Source: drivers/media/v4l2-core/v4l2-dev.c
    """
    if local in state.prios:
        state.prios[local] -= 1


def v4l2_prio_change(state: V4l2PrioState, local: int, new: int) -> int:
    """Change a file's priority; give the new one.

    :raises OSError: EINVAL, it is none

    Source: drivers/media/v4l2-core/v4l2-dev.c
    """
    if new not in state.prios:
        raise OSError(errno.EINVAL, f"{new} is no priority")
    v4l2_prio_close(state, local)
    state.prios[new] += 1
    return new


def v4l2_prio_max(state: V4l2PrioState) -> int:
    """Give the highest priority that an open file has.

    Source: drivers/media/v4l2-core/v4l2-dev.c
    """
    held = [prio for prio, count in state.prios.items() if count > 0]
    return max(held, default=c.V4L2_PRIORITY_UNSET)


def v4l2_prio_check(state: V4l2PrioState, local: int) -> None:
    """Refuse what a file with a lower priority than another must not do.

    :raises OSError: EBUSY

    Source: drivers/media/v4l2-core/v4l2-dev.c
    """
    if local < v4l2_prio_max(state):
        raise OSError(errno.EBUSY, "another file has a higher priority")
