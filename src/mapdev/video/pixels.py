"""Pixel formats of V4L2: the layout of a picture's bytes, and conversion from RGB and back.

`FORMATS` has them by their four characters. A format says how many bytes a line and a picture take,
and its `encode` writes some rows of an RGB picture to where they belong in a buffer, so that rows
that have not changed need not be converted again. MJPG has no rows: it is written as a whole.

Source: Documentation/userspace-api/media/v4l/pixfmt.rst
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mapdev.video.yuv import Pixels, chroma, grey, luma, to_rgb

__all__ = ["FORMATS", "PixelFormat", "decode_jpeg", "encode_jpeg"]

Buffer: TypeAlias = Pixels  # one dimension
Deep: TypeAlias = NDArray[np.uint16]
_Encode: TypeAlias = Callable[[Pixels, list[Pixels], int], None]
_Decode: TypeAlias = Callable[[list[Pixels]], Pixels]


@dataclass(frozen=True)
class PixelFormat:
    """How the pixels of a picture lie in memory.

    :ivar fourcc: its four characters in V4L2
    :ivar depth: bytes of a pixel in the first plane; 0 if the format is compressed
    :ivar chroma: bytes of a pixel in the second plane, of which there are half as many lines
    :ivar is_split: the second plane is in a buffer of its own (multi-planar API)
    """

    fourcc: str
    depth: int
    encode_rows: _Encode | None = None
    decode_planes: _Decode | None = None
    chroma: int = 0
    is_split: bool = False

    @property
    def is_compressed(self) -> bool:
        """Whether the length of a picture depends on what it shows."""
        return self.depth == 0

    def bytesperline(self, width: int) -> int:
        """Return the bytes from one line to the next; 0 if the format is compressed."""
        return width * self.depth

    def plane_sizes(self, width: int, height: int) -> list[int]:
        """Return the bytes of a picture in each plane of a buffer; at most, if compressed."""
        if self.is_compressed:
            return [max(width * height * 2, 1 << 16)]
        sizes = [width * height * self.depth]
        if self.chroma:
            sizes.append(width * self.chroma * height // 2)
        return sizes if self.is_split else [sum(sizes)]

    def sizeimage(self, width: int, height: int) -> int:
        """Return the bytes of a picture in all planes together; at most, if compressed."""
        return sum(self.plane_sizes(width, height))

    def planes(self, data: Any, width: int, height: int) -> list[Pixels]:
        """Return the lines of each plane as views of a buffer's bytes.

        :param data: the buffer's bytes, or a list with those of each plane
        """
        parts = data if isinstance(data, list) else [data]
        flat = [np.frombuffer(part, np.uint8) for part in parts]
        first = width * height * self.depth
        views = [flat[0][:first].reshape(height, width * self.depth)]
        if self.chroma:
            rest = flat[1] if self.is_split else flat[0][first:]
            rows = height // 2
            views.append(rest[: rows * width * self.chroma].reshape(rows, width * self.chroma))
        return views

    def encode(self, rgb: Pixels, planes: list[Pixels], first: int = 0) -> None:
        """Write some rows of a picture.

        :param rgb: the rows, of shape (rows, width, 3); even numbers of both
        :param planes: what `planes` gave for a writable buffer
        :param first: the number of the first row, even
        """
        assert self.encode_rows is not None, "a compressed format has no rows"
        self.encode_rows(rgb, planes, first)

    def decode(self, data: Any, width: int, height: int) -> Pixels:
        """Return the picture in a buffer, RGB of shape (height, width, 3).

        :raises ValueError: the buffer is too short for it, or no JPEG
        """
        if self.is_compressed:
            return decode_jpeg(data[0] if isinstance(data, list) else data)
        assert self.decode_planes is not None
        return self.decode_planes(self.planes(data, width, height))


def encode_jpeg(rgb: Pixels, quality: int = 90) -> bytes:
    """Return a picture as JPEG, by Pillow."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(out, "JPEG", quality=quality)
    return out.getvalue()


def decode_jpeg(data: Any) -> Pixels:
    """Return the picture that JPEG data shows, as RGB.

    :raises ValueError: it shows none
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(bytes(data))) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise ValueError(f"no JPEG: {error}") from error


def _packed(y_at: int, cb_at: int) -> tuple[_Encode, _Decode]:
    """Make the conversions of a 4:2:2 format with two pixels in four bytes."""
    cr_at = cb_at + 2

    def encode(rgb: Pixels, planes: list[Pixels], first: int) -> None:
        out = planes[0][first : first + len(rgb)]
        out[:, y_at::2] = luma(rgb)
        out[:, cb_at::4], out[:, cr_at::4] = chroma(rgb)

    def decode(planes: list[Pixels]) -> Pixels:
        data = planes[0]
        return to_rgb(
            data[:, y_at::2], data[:, cb_at::4].repeat(2, 1), data[:, cr_at::4].repeat(2, 1)
        )

    return encode, decode


def _encode_nv12(rgb: Pixels, planes: list[Pixels], first: int) -> None:
    planes[0][first : first + len(rgb)] = luma(rgb)
    out = planes[1][first // 2 : (first + len(rgb)) // 2]
    out[:, 0::2], out[:, 1::2] = chroma(rgb, 2)


def _decode_nv12(planes: list[Pixels]) -> Pixels:
    cb, cr = (planes[1][:, at::2].repeat(2, 0).repeat(2, 1) for at in (0, 1))
    return to_rgb(planes[0], cb, cr)


def _encode_rgb(rgb: Pixels, planes: list[Pixels], first: int) -> None:
    planes[0][first : first + len(rgb)] = rgb.reshape(len(rgb), -1)


def _decode_rgb(planes: list[Pixels]) -> Pixels:
    return planes[0].reshape(len(planes[0]), -1, 3).copy()


def _encode_bgr(rgb: Pixels, planes: list[Pixels], first: int) -> None:
    out = planes[0][first : first + len(rgb)]
    for at in range(3):
        out[:, at::3] = rgb[..., 2 - at]


def _decode_bgr(planes: list[Pixels]) -> Pixels:
    return planes[0].reshape(len(planes[0]), -1, 3)[..., ::-1].copy()


def _encode_grey(rgb: Pixels, planes: list[Pixels], first: int) -> None:
    planes[0][first : first + len(rgb)] = grey(rgb)


def _decode_grey(planes: list[Pixels]) -> Pixels:
    return planes[0][..., None].repeat(3, 2)


def _encode_y16(rgb: Pixels, planes: list[Pixels], first: int) -> None:
    """Write the brightness as both bytes, so that white is 65535."""
    planes[0][first : first + len(rgb)] = grey(rgb).repeat(2, 1)


def _decode_y16(planes: list[Pixels]) -> Pixels:
    return planes[0][:, 1::2, None].repeat(3, 2)


FORMATS = {
    entry.fourcc: entry
    for entry in (
        PixelFormat("YUYV", 2, *_packed(0, 1)),
        PixelFormat("UYVY", 2, *_packed(1, 0)),
        PixelFormat("RGB3", 3, _encode_rgb, _decode_rgb),
        PixelFormat("BGR3", 3, _encode_bgr, _decode_bgr),
        PixelFormat("GREY", 1, _encode_grey, _decode_grey),
        PixelFormat("NV12", 1, _encode_nv12, _decode_nv12, chroma=1),
        PixelFormat("MJPG", 0),
        PixelFormat("Y16 ", 2, _encode_y16, _decode_y16),
        PixelFormat("NM12", 1, _encode_nv12, _decode_nv12, chroma=1, is_split=True),
    )
}
"""The formats by their four characters: RGB3 and BGR3 are V4L2's RGB24 and BGR24."""
