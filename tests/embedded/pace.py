"""How much of the same a test does: less where the processor is emulated."""

import os


def rounds(number: int) -> int:
    """How often to repeat something: `number` times, but less on an emulated processor."""
    return max(1, number // 10) if os.environ.get("MAPDEV_EMULATED") else number
