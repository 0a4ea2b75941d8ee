"""RGB to Y'CbCr and back: BT.601, limited range, in integers.

That is what V4L2 means by the default encoding and quantization of a YUV format whose colour space
is sRGB. All arithmetic is in integers, so the bytes are the same on each machine. Coefficients are
scaled by 2 to the power of 16.

Source: Documentation/userspace-api/media/v4l/colorspaces-details.rst, ITU-R BT.601
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pixels", "chroma", "grey", "luma", "to_rgb"]

Pixels: TypeAlias = NDArray[np.uint8]
_Wide: TypeAlias = NDArray[np.int32]

_HALF = 1 << 15


def _weigh(rgb: Pixels, red: int, green: int, blue: int, offset: int) -> _Wide:
    """Return the weighted sum of the three channels, before it is scaled down."""
    total = np.multiply(rgb[..., 1], green, dtype=np.int32)
    total += np.multiply(rgb[..., 0], red, dtype=np.int32)
    total += np.multiply(rgb[..., 2], blue, dtype=np.int32)
    total += offset
    return total


def grey(rgb: Pixels) -> Pixels:
    """Return the brightness of each pixel, 0 to 255: what Pillow calls mode L."""
    return (_weigh(rgb, 19595, 38470, 7471, _HALF) >> 16).astype(np.uint8)


def luma(rgb: Pixels) -> Pixels:
    """Return Y' of each pixel, 16 to 235."""
    return (_weigh(rgb, 16829, 33039, 6416, (16 << 16) + _HALF) >> 16).astype(np.uint8)


def chroma(rgb: Pixels, rows: int = 1) -> tuple[Pixels, Pixels]:
    """Return Cb and Cr, one of each for two neighbours in `rows` rows: their mean.

    :param rgb: an even number of columns, and a multiple of `rows` of rows
    :param rows: 1 for 4:2:2, 2 for 4:2:0
    """
    pairs = rgb[:, 0::2].astype(np.int16)
    pairs += rgb[:, 1::2]
    shift = 17
    if rows == 2:
        pairs = pairs[0::2] + pairs[1::2]
        shift = 18
    middle = (128 << shift) + (1 << (shift - 1))
    red, green, blue = (pairs[..., at].astype(np.int32) for at in range(3))
    cb = (-9714 * red - 19070 * green + 28784 * blue + middle) >> shift
    cr = (28784 * red - 24103 * green - 4681 * blue + middle) >> shift
    return cb.astype(np.uint8), cr.astype(np.uint8)


def to_rgb(y: Pixels, cb: Pixels, cr: Pixels) -> Pixels:
    """Return the RGB of pixels whose Y', Cb and Cr are arrays of one shape."""
    scaled = (y.astype(np.int32) - 16) * 76309 + _HALF
    blue_part, red_part = cb.astype(np.int32) - 128, cr.astype(np.int32) - 128
    channels = (
        scaled + 104597 * red_part,
        scaled - 53279 * red_part - 25675 * blue_part,
        scaled + 132201 * blue_part,
    )
    return np.stack([np.clip(channel >> 16, 0, 255) for channel in channels], -1).astype(np.uint8)
