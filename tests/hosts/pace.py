"""How much of the same a test does: less where the processor is emulated."""

import os

_EMULATED = bool(os.environ.get("MAPDEV_EMULATED"))


def rounds(number: int) -> int:
    """How often to repeat something: `number` times, but less on an emulated processor."""
    return max(1, number // 10) if _EMULATED else number


def patience(seconds: float) -> float:
    """How long something may take: `seconds`, but more on an emulated processor."""
    return seconds * 8 if _EMULATED else seconds
