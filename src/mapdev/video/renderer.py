"""`Renderer`: writes the pictures of a source into buffers, in a pixel format.

It keeps the bytes of the last picture, converts the rows that have changed since, and copies all of
it into the buffer, which had an older picture. A source that draws rows anew says so in
`Picture.changed`; of a still, nothing is converted twice.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from mapdev.video.adjust import Adjustments
from mapdev.video.pattern import Picture
from mapdev.video.pixels import PixelFormat, encode_jpeg
from mapdev.video.sources import Source, SourceError
from mapdev.video.yuv import Pixels

__all__ = ["Renderer"]


class Renderer:
    """Writes pictures in one format and size.

    :param quality: of JPEG, 1 to 95
    """

    def __init__(
        self, source: Source, pixel_format: PixelFormat, size: tuple[int, int], quality: int = 90
    ) -> None:
        self.source = source
        self.format = pixel_format
        self.size = size
        self._quality = quality
        self._adjusted: Adjustments | None = None  # with what the last picture was made
        self._kept: list[Pixels] = []  # its bytes in each plane,
        self._rows: list[Pixels] = []  # and the same in lines

    @property
    def quality(self) -> int:
        """The quality of JPEG, 1 to 95."""
        return self._quality

    @quality.setter
    def quality(self, quality: int) -> None:
        self._quality = quality
        self._adjusted = None  # so that a still is compressed anew

    @property
    def shown(self) -> list[bytes]:
        """The bytes of the last picture in each plane; none before the first."""
        return [kept.tobytes() for kept in self._kept]

    def render(
        self, number: int, seconds: float, adjustments: Adjustments, buffers: list[Any]
    ) -> list[int]:
        """Write a picture into a buffer; return the bytes that it took in each plane.

        :param buffers: the writable bytes of each plane
        :raises SourceError: the source gave no picture, or one that does not fit the buffer
        """
        self.prepare(number, seconds, adjustments)
        return self.copy(buffers)

    def prepare(self, number: int, seconds: float, adjustments: Adjustments) -> None:
        """Ask the source for a picture, and convert it; `copy` writes it.

        :raises SourceError: the source gave no picture
        """
        picture = self.source.picture(number, seconds, self.size)
        changed = picture.changed
        if adjustments != self._adjusted or (adjustments.moves_rows and changed != (0, 0)):
            changed = None
        if not self._kept:
            changed = None
        try:
            if changed is None or changed[1] > changed[0]:
                self._convert(picture, adjustments, changed)
        except BaseException:
            self._adjusted = None  # what is kept may be half of a picture
            raise
        self._adjusted = copy.copy(adjustments)

    def copy(self, buffers: list[Any]) -> list[int]:
        """Write the picture that was prepared into a buffer; return the bytes in each plane.

        :raises SourceError: it does not fit the buffer
        """
        for kept, buffer in zip(self._kept, buffers, strict=True):
            if len(kept) > len(buffer):
                raise SourceError(f"the picture has {len(kept)} bytes, the buffer {len(buffer)}")
            np.frombuffer(buffer, np.uint8)[: len(kept)] = kept
        return [len(kept) for kept in self._kept]

    def _convert(
        self, picture: Picture, adjustments: Adjustments, changed: tuple[int, int] | None
    ) -> None:
        """Bring the kept bytes up to date, all of them or some rows."""
        pixels = picture.pixels
        is_as_wanted = pixels.shape[1::-1] == self.size and adjustments.is_neutral
        if pixels.dtype == np.uint16:
            if self.format.fourcc == "Y16 " and is_as_wanted:
                self._kept = [np.ascontiguousarray(pixels, "<u2").view(np.uint8).reshape(-1)]
                self._rows = []
                return
            pixels = (pixels >> 8).astype(np.uint8)[..., None].repeat(3, 2)
        if self.format.is_compressed:
            data = picture.jpeg if is_as_wanted else None
            if data is None:
                rgb = adjustments.apply(fit(pixels, self.size))
                data = encode_jpeg(rgb, self.quality)
            self._kept = [np.frombuffer(data, np.uint8)]
            return
        if not self._rows:
            changed = None
            sizes = self.format.plane_sizes(*self.size)
            self._kept = [np.empty(size, np.uint8) for size in sizes]
            self._rows = self.format.planes(list(self._kept), *self.size)
        if pixels.shape[1::-1] != self.size:
            changed = None
            pixels = fit(pixels, self.size)
        first, last = changed or (0, len(pixels))
        first, last = first & ~1, last + 1 & ~1
        self.format.encode(adjustments.apply(pixels[first:last]), self._rows, first)


def fit(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Return a picture in the size (width, height) that is wanted."""
    if pixels.shape[1::-1] == size:
        return pixels
    from PIL import Image

    resized = Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(resized)
