"""Sources of pictures: the test pattern, images, video files, Python functions and generators."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mapdev.video import movie
from mapdev.video.pattern import BARS, Pattern, frame_number
from mapdev.video.pixels import FORMATS, encode_jpeg
from mapdev.video.sources import SourceError, open_source, picture_of

SIZES = [(32, 16), (64, 48), (160, 120), (322, 242), (640, 480)]


def plain(value: int, width: int = 8, height: int = 6) -> Any:
    return np.full((height, width, 3), value, np.uint8)


def shown(source: Any, number: int = 0, size: tuple[int, int] = (8, 6)) -> Any:
    return source.picture(number, number / 30, size).pixels


@pytest.mark.parametrize("size", [(32, 16), (162, 122), (640, 480)])
@pytest.mark.parametrize("fourcc", FORMATS)
def test_the_pattern_shows_its_number_in_each_format(fourcc: str, size: tuple[int, int]) -> None:
    if fourcc == "MJPG" and size[0] < 160:
        pytest.skip("JPEG blurs cells of less than five pixels")
    entry, pattern = FORMATS[fourcc], Pattern()
    for number in (0, 0x5555_5555, 0xFFFF_FFFF):
        rgb = shown(pattern, number, size)
        if entry.is_compressed:
            assert frame_number(entry.decode(encode_jpeg(rgb), *size)) == number
            continue
        planes = [bytearray(part) for part in entry.plane_sizes(*size)]
        entry.encode(rgb, entry.planes(list(planes), *size))
        assert frame_number(entry.decode(planes, *size)) == number


@pytest.mark.parametrize("size", SIZES)
def test_only_the_rows_that_are_said_to_change_do(size: tuple[int, int]) -> None:
    pattern = Pattern()
    before = shown(pattern, 0, size).copy()
    picture = pattern.picture(77, 12.345, size)
    assert picture.changed is not None
    first, last = picture.changed
    differs = (picture.pixels != before).any((1, 2))
    assert differs[first:last].any() and not differs[:first].any() and not differs[last:].any()
    assert (shown(Pattern(), 77, size) != picture.pixels).any(), "the time is another"
    assert (Pattern().picture(77, 12.345, size).pixels == picture.pixels).all()


def test_the_pattern_has_bars_and_a_time() -> None:
    pattern = Pattern()
    pixels = shown(pattern, 0, (640, 480)).copy()
    assert [tuple(pixels[10, 40 + 80 * bar]) for bar in range(8)] == list(BARS)
    assert (pixels[430:460].any((0, 2))).sum() > 50, "digits"
    later = pattern.picture(0, 61.5, (640, 480)).pixels
    assert (later[425:460] != pixels[425:460]).any()


def test_a_still_and_a_directory(tmp_path: Path) -> None:
    for name, value in (("b.png", 2), ("a.png", 1), ("c.bmp", 3)):
        Image.fromarray(plain(value)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    still = open_source(str(tmp_path / "b.png"))
    assert still.size == (8, 6)
    assert [shown(still, number)[0, 0, 0] for number in range(3)] == [2, 2, 2]
    assert still.picture(3, 0, (8, 6)).changed == (0, 0)
    images = open_source(tmp_path)
    assert [shown(images, number)[0, 0, 0] for number in range(5)] == [1, 2, 3, 1, 2]


def test_a_function_with_and_without_the_number() -> None:
    values = iter(range(10, 20))
    assert shown(open_source(lambda number: plain(number)), 7)[0, 0, 0] == 7
    source = open_source(lambda: plain(next(values)))
    assert [shown(source, number)[0, 0, 0] for number in (0, 1, 5)] == [10, 11, 12]
    assert source.size == (8, 6)


def test_a_generator_function_begins_again_and_a_generator_does_not() -> None:
    def frames() -> Iterator[Any]:
        yield plain(1)
        yield plain(2)

    again = open_source(frames)
    assert [shown(again, number)[0, 0, 0] for number in range(5)] == [1, 2, 1, 2, 1]
    once = open_source(frames())
    assert [shown(once, number)[0, 0, 0] for number in range(2)] == [1, 2]
    with pytest.raises(SourceError, match="no more pictures"):
        shown(once, 2)


def test_a_function_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pictures_of_mine.py").write_text(
        "import numpy\nfrom pathlib import Path\n"
        "def frames():\n    yield numpy.full((6, 8), 9, numpy.uint8)\n"
        "broken = 1\n"
    )
    (tmp_path / "faulty.py").write_text("import nothing_of_the_kind\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for text in ("pictures_of_mine.py:frames", f"{tmp_path}/pictures_of_mine.py:frames",
                 "pictures_of_mine:frames"):  # fmt: skip
        assert shown(open_source(text)).tolist() == plain(9).tolist()
    for text, message in (
        ("pictures_of_mine.py:others", "has no 'others'"),
        ("pictures_of_mine.py:broken", "no function and no generator"),
        ("faulty.py:frames", "can't be loaded: ModuleNotFoundError"),
        ("nowhere.py:frames", "can't be loaded"),
        ("nothing", "no source 'nothing'"),
    ):
        with pytest.raises(SourceError, match=message):
            open_source(text)


def test_what_a_picture_may_be() -> None:
    deep = np.arange(48, dtype=np.uint16).reshape(6, 8)
    assert picture_of(deep).pixels is deep
    assert picture_of(plain(3)[..., 0]).pixels.tolist() == plain(3).tolist()
    assert picture_of(Image.new("L", (8, 6), 3)).pixels.tolist() == plain(3).tolist()
    data = encode_jpeg(plain(3))
    assert picture_of(data).jpeg == data
    for wrong in (None, 3, plain(1).astype(float), plain(1)[..., :2], np.zeros((0, 0, 3), np.uint8),
                  b"no jpeg", np.zeros((2, 3, 4), np.uint8)):  # fmt: skip
        with pytest.raises(SourceError):
            picture_of(wrong)


def test_an_empty_directory_and_no_image(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has no images"):
        open_source(tmp_path)
    (tmp_path / "x.png").write_text("no image")
    with pytest.raises(SourceError, match="is no image"):
        open_source(tmp_path / "x.png")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("there is no ffmpeg to make a video file: apt-get install ffmpeg")
    path = tmp_path / "video.avi"
    pixels = b"".join(plain(20 * number, 64, 48).tobytes() for number in range(4))
    command = [ffmpeg, "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x48"]
    command += ["-i", "-", "-c:v", "ffv1", "-pix_fmt", "bgr0", str(path)]
    subprocess.run(command, input=pixels, check=True, timeout=60)
    return path


@pytest.mark.parametrize("decoder", ["ffmpeg", "PyAV"])
def test_a_video_file(video: Path, monkeypatch: pytest.MonkeyPatch, decoder: str) -> None:
    if decoder == "PyAV":
        pytest.importorskip("av", reason="PyAV is not installed: pip install av")
    else:
        monkeypatch.setattr(movie, "has_pyav", lambda: False)
    source = open_source(video)
    assert source.size == (64, 48)
    assert [shown(source, number)[0, 0, 0] for number in range(6)] == [0, 20, 40, 60, 0, 20]
    source.close()  # type: ignore[attr-defined]
    wrong = video.with_name("wrong.avi")
    wrong.write_bytes(b"no video" * 100)
    with pytest.raises(SourceError, match="is no video file"):
        open_source(wrong)


def test_nothing_to_decode_a_video_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.mp4").write_bytes(b"x")
    monkeypatch.setattr(movie, "has_pyav", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="pip install av"):
        open_source(tmp_path / "x.mp4")
