"""`Adjustments`: what a camera's controls do to its picture.

Brightness, contrast, exposure and gain change each value by itself, so they are a table of 256
entries. A lens that is out of focus blurs, by Pillow. Flips turn the picture over. With
everything at its default the picture passes through as it is, with no copy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mapdev.video.yuv import Pixels, grey

__all__ = ["DEFAULT_EXPOSURE", "Adjustments"]

DEFAULT_EXPOSURE = 333  # in units of 100 microseconds, as V4L2 counts it: 1/30 s
_BLUR = 32  # steps of focus that blur by one more pixel


@dataclass
class Adjustments:
    """The settings of a camera's controls, in the units of V4L2's.

    :ivar brightness: 0 to 255; 128 leaves the picture as it is
    :ivar contrast: 0 to 255; 128 leaves the picture as it is, 0 is all grey
    :ivar saturation: 0 to 255; 128 leaves the picture as it is, 0 has no colours
    :ivar gain: 0 to 255, in sixteenths: the light is multiplied by 1 + gain / 16
    :ivar exposure: in 100 microseconds; twice as long is twice as bright
    :ivar focus: 0 to 255; how far the lens is from where the picture is sharp
    :ivar hflip: left and right are exchanged
    :ivar vflip: top and bottom are exchanged
    """

    brightness: int = 128
    contrast: int = 128
    saturation: int = 128
    gain: int = 0
    exposure: int = DEFAULT_EXPOSURE
    focus: int = 0
    hflip: bool = False
    vflip: bool = False

    @property
    def changes_values(self) -> bool:
        """Whether colours differ from the source's."""
        return (self.brightness, self.contrast, self.saturation, self.gain, self.exposure) != (
            128, 128, 128, 0, DEFAULT_EXPOSURE,
        )  # fmt: skip

    @property
    def is_neutral(self) -> bool:
        """Whether the picture stays as it is."""
        return not (self.changes_values or self.focus >= _BLUR or self.hflip or self.vflip)

    @property
    def moves_rows(self) -> bool:
        """Whether a row of the result depends on other rows than itself."""
        return self.focus >= _BLUR or self.vflip

    def table(self) -> Pixels:
        """Return what becomes of each value from 0 to 255.

        First the light: it is multiplied by exposure and gain, and cut off at 255. Then contrast
        spreads values around the middle, and brightness is added.
        """
        values = np.arange(256, dtype=np.int64)
        light = values * self.exposure * (16 + self.gain) // (DEFAULT_EXPOSURE * 16)
        light = np.minimum(light, 255)
        spread = ((light - 128) * self.contrast >> 7) + 128
        table: Pixels = np.clip(spread + self.brightness - 128, 0, 255).astype(np.uint8)
        return table

    def apply(self, rgb: Pixels) -> Pixels:
        """Return the picture as the camera shows it; the argument stays as it is."""
        if self.changes_values:
            table: Pixels = self.table()
            rgb = table[rgb]
        if self.saturation != 128:
            level = grey(rgb)[..., None].astype(np.int32)
            colour = ((rgb - level) * self.saturation >> 7) + level
            rgb = colour.clip(0, 255).astype(np.uint8)
        if self.focus >= _BLUR:
            rgb = _blur(rgb, self.focus // _BLUR)
        if self.hflip:
            rgb = rgb[:, ::-1]
        if self.vflip:
            rgb = rgb[::-1]
        return rgb


def _blur(rgb: Pixels, radius: int) -> Pixels:
    from PIL import Image, ImageFilter

    image = Image.fromarray(np.ascontiguousarray(rgb))
    blurred: Pixels = np.asarray(image.filter(ImageFilter.BoxBlur(radius)))
    return blurred
