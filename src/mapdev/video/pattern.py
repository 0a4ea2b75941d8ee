"""`Pattern`: a test picture with colour bars, a running time, and its own number to be read back.

From the top: eight colour bars, a grey ramp, and a band that changes from picture to picture. The
band has the picture's number as 32 black and white cells, the lowest bit first, then the time in
digits, and a mark that crosses the picture once a second. `frame_number` reads the cells, in a
picture that has gone through any format, JPEG too: so a test knows which picture a program got.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mapdev.video.yuv import Pixels

__all__ = ["BARS", "Pattern", "Picture", "frame_number"]

BARS = ((255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0),
        (255, 0, 255), (255, 0, 0), (0, 0, 255), (0, 0, 0))  # fmt: skip
"""The colours of the bars, from the left, as RGB."""

_CELLS = 32  # bits of the number that are shown
_SHOWN = 2**_CELLS

# Digits of 3 x 5 pixels, a row in three bits.
_FONT = {
    "0": (7, 5, 5, 5, 7), "1": (2, 6, 2, 2, 7), "2": (7, 1, 7, 4, 7), "3": (7, 1, 3, 1, 7),
    "4": (5, 5, 7, 1, 1), "5": (7, 4, 7, 1, 7), "6": (7, 4, 7, 5, 7), "7": (7, 1, 1, 2, 2),
    "8": (7, 5, 7, 5, 7), "9": (7, 5, 7, 1, 7), ":": (0, 2, 0, 2, 0), ".": (0, 0, 0, 0, 2),
}  # fmt: skip


class Picture(NamedTuple):
    """A picture of a source.

    :ivar pixels: RGB of shape (height, width, 3); or depths of shape (height, width), uint16
    :ivar changed: the first row that differs from the picture before, and the one after the last;
        None for all
    :ivar jpeg: the same as JPEG, if the source has it
    """

    pixels: Pixels
    changed: tuple[int, int] | None = None
    jpeg: bytes | None = None


def _band(height: int) -> tuple[int, int, int]:
    """Return the rows where the ramp begins, the cells begin, and the digits begin; all even."""
    cells = height * 3 // 4 & ~1
    return height * 5 // 8 & ~1, cells, max(cells + 2, height * 7 // 8 & ~1)


def _digits(text: str, scale: int) -> Pixels:
    """Return some digits, white on black, of shape (5 * scale, 4 * scale * len(text))."""
    rows = np.zeros((5, 4 * len(text)), np.uint8)
    for at, character in enumerate(text):
        for row, bits in enumerate(_FONT[character]):
            rows[row, 4 * at : 4 * at + 3] = [255 * (bits >> 2 - x & 1) for x in range(3)]
    return rows.repeat(scale, 0).repeat(scale, 1)


class Pattern:
    """A test picture, of any even size from 32 x 16 pixels on.

    :ivar size: None, it has none of its own
    """

    size: tuple[int, int] | None = None

    def __init__(self) -> None:
        self._pixels: Pixels | None = None

    def picture(self, number: int, seconds: float, size: tuple[int, int]) -> Picture:
        """Draw picture `number`, whose time is `seconds`, in `size` (width, height).

        The array is the same each time; it is drawn over by the next call.
        """
        width, height = size
        ramp, cells, digits = _band(height)
        changed = None
        if self._pixels is None or self._pixels.shape != (height, width, 3):
            self._pixels = _background(width, height, ramp, cells)
        else:
            changed = cells, height
        band = self._pixels
        band[cells:] = 0
        step = width // _CELLS
        bits = [255 * (number >> bit & 1) for bit in range(_CELLS)]
        band[cells:digits, : step * _CELLS] = np.repeat(np.array(bits, np.uint8), step)[:, None]
        self._write(f"{int(seconds) // 60:02}:{seconds % 60:06.3f}", digits)
        at = int(seconds % 1 * width) & ~1
        band[height - max(1, (height - digits) // 4) :, at : at + max(2, width // 64)] = 255
        return Picture(self._pixels, changed)

    def _write(self, text: str, top: int) -> None:
        """Write the time as large as it fits above the mark."""
        assert self._pixels is not None
        height, width, _ = self._pixels.shape
        scale = min(width // (4 * len(text) + 2), (height - top) * 3 // 4 // 6)
        if scale >= 1:
            drawn = _digits(text, scale)
            place = self._pixels[top + scale // 2 :, scale:]
            place[: drawn.shape[0], : drawn.shape[1]] = drawn[..., None]


def _background(width: int, height: int, ramp: int, cells: int) -> Pixels:
    pixels = np.zeros((height, width, 3), np.uint8)
    columns = np.arange(width)
    pixels[:ramp] = np.array(BARS, np.uint8)[columns * len(BARS) // width]
    pixels[ramp:cells] = (columns * 255 // max(1, width - 1)).astype(np.uint8)[:, None]
    return pixels


def frame_number(rgb: Pixels) -> int:
    """Read the number of a picture that `Pattern` drew, modulo 2 to the power of 32.

    :param rgb: the picture as a program has it: of shape (height, width, 3), or (height, width)
    """
    height, width = rgb.shape[:2]
    _, cells, digits = _band(height)
    step = width // _CELLS
    line = rgb[(cells + digits) // 2].reshape(width, -1)[:, 0]
    middles = line[step // 2 : step * _CELLS : step]
    return sum(1 << bit for bit, value in enumerate(middles) if value > 127)
