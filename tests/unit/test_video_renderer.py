"""Pictures in buffers: adjustments, sizes, and rows that are not converted twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mapdev.video.adjust import DEFAULT_EXPOSURE, Adjustments
from mapdev.video.pattern import Pattern, Picture, frame_number
from mapdev.video.pixels import FORMATS, decode_jpeg, encode_jpeg
from mapdev.video.renderer import Renderer, fit
from mapdev.video.sources import SourceError, open_source

SIZE = WIDTH, HEIGHT = 64, 48
NEUTRAL = Adjustments()
CHANGED = [
    Adjustments(brightness=200), Adjustments(contrast=30), Adjustments(gain=64),
    Adjustments(exposure=2 * DEFAULT_EXPOSURE), Adjustments(saturation=0), Adjustments(focus=96),
    Adjustments(hflip=True), Adjustments(vflip=True), Adjustments(brightness=90, vflip=True),
]  # fmt: skip


def rendered(renderer: Renderer, number: int, adjustments: Adjustments = NEUTRAL) -> list[bytes]:
    buffers = [bytearray(b"\xaa" * size) for size in renderer.format.plane_sizes(*renderer.size)]
    lengths = renderer.render(number, number / 30, adjustments, buffers)
    return [bytes(part[:length]) for part, length in zip(buffers, lengths, strict=True)]


@pytest.mark.parametrize("fourcc", FORMATS)
def test_rows_that_are_kept_make_no_difference(fourcc: str) -> None:
    """Whatever was shown before, a picture is what a new renderer makes of it."""
    entry = FORMATS[fourcc]
    one = Renderer(Pattern(), entry, SIZE)
    history = [NEUTRAL, NEUTRAL, *CHANGED, NEUTRAL, CHANGED[7], CHANGED[7], NEUTRAL]
    for number, adjustments in enumerate(history):
        fresh = Renderer(Pattern(), entry, SIZE)
        assert rendered(one, number, adjustments) == rendered(fresh, number, adjustments)


def test_a_still_is_converted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Still:
        size = SIZE
        changed: Any = None

        def picture(self, number: int, seconds: float, size: Any) -> Picture:
            return Picture(np.full((HEIGHT, WIDTH, 3), 7, np.uint8), self.changed)

    converted: list[Any] = []
    original = Renderer._convert
    monkeypatch.setattr(
        Renderer, "_convert", lambda self, *rest: (converted.append(1), original(self, *rest))
    )
    source = Still()
    renderer = Renderer(source, FORMATS["YUYV"], SIZE)
    first = rendered(renderer, 0)
    source.changed = (0, 0)
    assert [rendered(renderer, number) for number in range(1, 4)] == [first] * 3
    assert len(converted) == 1
    rendered(renderer, 4, CHANGED[0])
    assert len(converted) == 2


def test_what_the_controls_do() -> None:
    rgb = Pattern().picture(0, 0, SIZE).pixels
    assert Adjustments().apply(rgb) is rgb
    assert (Adjustments(hflip=True).apply(rgb) == rgb[:, ::-1]).all()
    assert (Adjustments(vflip=True).apply(rgb) == rgb[::-1]).all()
    assert (Adjustments(brightness=138).apply(rgb) == np.minimum(rgb.astype(int) + 10, 255)).all()
    assert (Adjustments(brightness=0, contrast=0).apply(rgb) == 0).all()
    assert (Adjustments(contrast=0).apply(rgb) == 128).all()
    half = Adjustments(exposure=DEFAULT_EXPOSURE // 2).table()
    assert half[200] in (99, 100) and half[0] == 0
    assert Adjustments(gain=16).table()[100] == 200 and Adjustments(gain=16).table()[200] == 255
    flat = Adjustments(saturation=0).apply(rgb)
    assert (flat[..., 0] == flat[..., 1]).all() and (flat[..., 1] == flat[..., 2]).all()
    grey = Adjustments(saturation=255).apply(rgb)[20, 60]
    assert (grey == rgb[20, 60]).all(), "black has no colour"
    sharp, soft = rgb[5].astype(int), Adjustments(focus=64).apply(rgb)[5].astype(int)
    assert abs(np.diff(soft, axis=0)).max() < abs(np.diff(sharp, axis=0)).max()
    assert Adjustments(focus=31).is_neutral and not Adjustments(focus=32).is_neutral


def test_neutral_controls_leave_each_value() -> None:
    assert replace(NEUTRAL).table().tolist() == list(range(256))


def test_a_picture_of_another_size_is_fitted() -> None:
    source = open_source(lambda: np.full((10, 20, 3), 99, np.uint8))
    data = rendered(Renderer(source, FORMATS["RGB3"], SIZE), 0)
    assert data == [b"\x63" * (WIDTH * HEIGHT * 3)]
    small = fit(Pattern().picture(0, 0, (640, 480)).pixels, (32, 24))
    assert small.shape == (24, 32, 3)


def test_sixteen_bits_stay_sixteen_bits() -> None:
    deep = np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH)
    source = open_source(lambda: deep)
    assert rendered(Renderer(source, FORMATS["Y16 "], SIZE), 0) == [deep.astype("<u2").tobytes()]
    grey = rendered(Renderer(source, FORMATS["GREY"], SIZE), 0)[0]
    assert grey == (deep >> 8).astype(np.uint8).tobytes()
    flipped = rendered(Renderer(source, FORMATS["Y16 "], SIZE), 0, Adjustments(hflip=True))[0]
    assert flipped[0] == flipped[1] == deep[0, -1] >> 8


def test_a_jpeg_passes_through_as_it_is() -> None:
    data = encode_jpeg(Pattern().picture(5, 0, SIZE).pixels, 80)
    source = open_source(lambda: data)
    assert rendered(Renderer(source, FORMATS["MJPG"], SIZE), 0) == [data]
    assert rendered(Renderer(source, FORMATS["RGB3"], SIZE), 0) == [decode_jpeg(data).tobytes()]
    bright = rendered(Renderer(source, FORMATS["MJPG"], SIZE), 0, CHANGED[0])[0]
    assert bright != data and decode_jpeg(bright).mean() > decode_jpeg(data).mean()


def test_a_picture_that_does_not_fit_the_buffer() -> None:
    renderer = Renderer(Pattern(), FORMATS["YUYV"], SIZE)
    with pytest.raises(SourceError, match="the picture has 6144 bytes, the buffer 100"):
        renderer.render(0, 0, NEUTRAL, [bytearray(100)])


def test_a_source_that_raises_leaves_no_half_picture() -> None:
    class Faulty(Pattern):
        def picture(self, number: int, seconds: float, size: Any) -> Picture:
            if number == 1:
                raise RuntimeError("no signal")
            return super().picture(number, seconds, size)

    renderer = Renderer(Faulty(), FORMATS["RGB3"], SIZE)
    rendered(renderer, 0)
    with pytest.raises(RuntimeError, match="no signal"):
        rendered(renderer, 1)
    data = np.frombuffer(rendered(renderer, 2)[0], np.uint8).reshape(HEIGHT, WIDTH, 3)
    assert frame_number(data) == 2
