"""Pixel formats: what is written is what was meant, checked against Pillow and plain arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from mapdev.video.pixels import FORMATS, decode_jpeg, encode_jpeg
from mapdev.video.yuv import chroma, grey, luma, to_rgb

RAW = sorted(name for name, entry in FORMATS.items() if not entry.is_compressed)
WIDTH, HEIGHT = 36, 20


def noise(width: int = WIDTH, height: int = HEIGHT) -> Any:
    """Return an image in which each 2 x 2 pixels are equal, so that chroma loses nothing."""
    small = np.random.default_rng(1).integers(0, 256, (height // 2, width // 2, 3), np.uint8)
    return small.repeat(2, 0).repeat(2, 1)


def buffers(name: str) -> list[bytearray]:
    return [bytearray(size) for size in FORMATS[name].plane_sizes(WIDTH, HEIGHT)]


def encoded(name: str, rgb: Any) -> list[bytearray]:
    entry, out = FORMATS[name], buffers(name)
    entry.encode(rgb, entry.planes(list(out), WIDTH, HEIGHT))
    return out


@pytest.mark.parametrize("name", RAW)
def test_a_picture_comes_back(name: str) -> None:
    rgb = noise()
    decoded = FORMATS[name].decode(encoded(name, rgb), WIDTH, HEIGHT)
    if name in ("GREY", "Y16 "):
        assert (decoded == grey(rgb)[..., None]).all()
    else:
        allowed = 0 if name in ("RGB3", "BGR3") else 3  # 8 bits, limited range
        assert abs(decoded.astype(int) - rgb).max() <= allowed


@pytest.mark.parametrize("name", RAW)
def test_some_rows_are_written_where_they_belong(name: str) -> None:
    first, second = noise(), noise()[::-1]
    entry, out = FORMATS[name], encoded(name, first)
    entry.encode(second[4:10], entry.planes(list(out), WIDTH, HEIGHT), 4)
    expected = first.copy()
    expected[4:10] = second[4:10]
    assert out == encoded(name, expected)


@pytest.mark.parametrize("name", RAW)
def test_sizes(name: str) -> None:
    bits = {"YUYV": 16, "UYVY": 16, "RGB3": 24, "BGR3": 24, "GREY": 8, "Y16 ": 16}.get(name, 12)
    entry = FORMATS[name]
    assert entry.sizeimage(640, 480) == 640 * 480 * bits // 8
    assert entry.bytesperline(640) == 640 * (1 if bits == 12 else bits // 8)
    assert len(entry.plane_sizes(640, 480)) == (2 if name == "NM12" else 1)


def test_the_bytes_of_packed_formats() -> None:
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[:, 0::2] = (255, 0, 0)
    rgb[:, 1::2] = (255, 0, 0)
    y, cb, cr = 81, 90, 240  # red, in BT.601
    assert encoded("YUYV", rgb)[0][:4] == bytes([y, cb, y, cr])
    assert encoded("UYVY", rgb)[0][:4] == bytes([cb, y, cr, y])
    assert encoded("RGB3", rgb)[0][:3] == b"\xff\0\0"
    assert encoded("BGR3", rgb)[0][:3] == b"\0\0\xff"
    nv12 = encoded("NV12", rgb)[0]
    assert set(nv12[: WIDTH * HEIGHT]) == {y} and nv12[-2:] == bytes([cb, cr])
    assert encoded("NM12", rgb)[1][:2] == bytes([cb, cr])


def test_white_and_black_are_the_ends_of_the_range() -> None:
    rgb = np.array([[[255, 255, 255], [255, 255, 255], [0, 0, 0], [0, 0, 0]]], np.uint8)
    assert luma(rgb).tolist() == [[235, 235, 16, 16]]
    assert grey(rgb).tolist() == [[255, 255, 0, 0]]
    assert [part.tolist() for part in chroma(rgb)] == [[[128, 128]], [[128, 128]]]
    assert encoded("Y16 ", np.full((HEIGHT, WIDTH, 3), 255, np.uint8))[0][:2] == b"\xff\xff"


def test_grey_is_what_pillow_makes_of_it() -> None:
    rgb = noise()
    assert (grey(rgb) == np.asarray(Image.fromarray(rgb).convert("L"))).all()


def test_no_colour_leaves_its_range() -> None:
    """All corners and edges of the cube of colours, and back."""
    steps = np.array([0, 1, 127, 128, 254, 255], np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    rgb = cube.repeat(2, 1)
    y, (cb, cr) = luma(rgb)[:, ::2], chroma(rgb)
    assert y.min() == 16 and y.max() == 235
    assert min(cb.min(), cr.min()) == 16 and max(cb.max(), cr.max()) == 240
    assert abs(to_rgb(y, cb, cr).astype(int) - cube).max() <= 3


def test_jpeg() -> None:
    rgb = noise(64, 48)
    data = encode_jpeg(rgb, 95)
    assert data[:2] == b"\xff\xd8" and len(data) <= FORMATS["MJPG"].sizeimage(64, 48)
    assert abs(decode_jpeg(data).astype(int) - rgb).mean() < 40
    assert (FORMATS["MJPG"].decode(data, 64, 48) == decode_jpeg(data)).all()
    with pytest.raises(ValueError, match="no JPEG"):
        decode_jpeg(b"nothing of the kind")
