"""fbset, fbcat and ffmpeg on a framebuffer, and a static C program for panning.

ffmpeg draws a test picture through mmap, fbcat reads the screen back through another mapping; both
must have the pixels that ffmpeg writes into a plain file.
"""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

WIDTH, HEIGHT = 322, 240  # lines of 24 bits that are no whole number of words
FORMATS = {16: "rgb565le", 24: "bgr24", 32: "bgra"}  # as ffmpeg calls them


def picture(size: str, pixel_format: str) -> list[str]:
    source = f"testsrc=size={size}:rate=1"
    return ["-f", "lavfi", "-i", source, "-frames:v", "1", "-pix_fmt", pixel_format]


def ppm(done: Any) -> Image.Image:
    assert (done.returncode, done.stderr) == (0, b"")
    return Image.open(io.BytesIO(done.stdout)).convert("RGB")


@pytest.mark.parametrize("bpp", FORMATS)
def test_ffmpeg_draws_and_fbcat_reads(
    mapdev: Any, require_program: Any, tmp_path: Path, bpp: int
) -> None:
    ffmpeg = [require_program("ffmpeg", "ffmpeg"), "-hide_banner", "-loglevel", "error", "-nostdin"]
    fbcat = require_program("fbcat", "fbcat")
    screen = mapdev.add("framebuffer", "/dev/fb0", width=WIDTH, height=HEIGHT, bpp=bpp)
    source = picture(f"{WIDTH}x{HEIGHT}", FORMATS[bpp])

    done = mapdev.run([*ffmpeg, *source, "-f", "fbdev", "/dev/fb0"], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    raw = tmp_path / "picture.raw"
    subprocess.run([*ffmpeg, *source, "-f", "rawvideo", str(raw)], check=True)
    expected = raw.read_bytes()

    width = WIDTH * bpp // 8
    line = screen.fix.line_length
    lines = [bytes(screen.data[y * line : y * line + width]) for y in range(HEIGHT)]
    assert b"".join(lines) == expected
    assert len(set(lines)) > 10, "a test picture has more to it"

    shown = ppm(mapdev.run([fbcat, "/dev/fb0"], capture_output=True))
    png = tmp_path / "screen.png"
    screen.save(png)
    saved = Image.open(png).convert("RGB")
    assert shown.size == saved.size == (WIDTH, HEIGHT)
    difference = max(ImageChops.difference(shown, saved).tobytes())
    assert difference <= (1 if bpp == 16 else 0)  # 5 bits are made 8 by one rounding or another
    if bpp > 16:
        order = "BGRX" if bpp == 32 else "BGR"
        wanted = Image.frombytes("RGB", (WIDTH, HEIGHT), expected, "raw", order)
        assert shown.tobytes() == wanted.tobytes()


def test_ffmpeg_grabs_the_screen(mapdev: Any, require_program: Any, tmp_path: Path) -> None:
    ffmpeg = [require_program("ffmpeg", "ffmpeg"), "-hide_banner", "-loglevel", "error", "-nostdin"]
    screen = mapdev.add("framebuffer", "/dev/fb0", width=64, height=48)
    screen.data[: 64 * 48 * 4] = bytes(range(256)) * 48
    raw = tmp_path / "grabbed.raw"
    command = [*ffmpeg, "-f", "fbdev", "-framerate", "60", "-i", "/dev/fb0", "-frames:v", "1"]
    done = mapdev.run([*command, "-pix_fmt", "bgra", "-f", "rawvideo", raw], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert raw.read_bytes() == bytes(screen.data[: 64 * 48 * 4])


def test_fbset_shows_and_changes_the_mode(mapdev: Any, require_program: Any) -> None:
    fbset = require_program("fbset", "fbset")
    screen = mapdev.add("framebuffer", "/dev/fb0")

    done = mapdev.run([fbset, "-fb", "/dev/fb0", "-i"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"geometry 640 480 640 960 32\n", done.stdout)
    assert re.search(r"rgba 8/16,8/8,8/0,8/24\n", done.stdout)
    assert re.search(r'mode "640x480-60"', done.stdout)
    assert re.search(r"LineLength *: 2560\n", done.stdout)
    assert re.search(r"Name *: mapdev\n", done.stdout)

    command = [fbset, "-fb", "/dev/fb0", "-g", "320", "200", "320", "400", "16"]
    done = mapdev.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (screen.var.xres, screen.var.yres, screen.var.bits_per_pixel) == (320, 200, 16)
    assert screen.fix.line_length == 640
    assert screen.image().size == (320, 200)

    done = mapdev.run([fbset, "-fb", "/dev/fb0", "-xres", "4000"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "FBIOPUT_VSCREENINFO: Cannot allocate memory" in done.stderr
    assert screen.var.xres == 320


def test_a_static_program_pans(mapdev: Any, build_client: Any, require_program: Any) -> None:
    screen = mapdev.add("framebuffer", "/dev/fb0", width=64, height=48)
    done = mapdev.run([build_client("pan"), "/dev/fb0"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert screen.var.yoffset == 48
    assert screen.image().getcolors() == [(64 * 48, (0x44, 0x55, 0x66))]

    fbcat = require_program("fbcat", "fbcat")
    shown = ppm(mapdev.run([fbcat, "/dev/fb0"], capture_output=True))
    assert shown.getcolors() == [(64 * 48, (0x44, 0x55, 0x66))]


def test_read_write_and_seek(mapdev: Any) -> None:
    """`cat picture >/dev/fb0`, and what a framebuffer says past its end."""
    screen = mapdev.add("framebuffer", "/dev/fb0", width=64, height=48)
    done = mapdev.run(["dd", "of=/dev/fb0", "bs=256", "seek=1"], input=b"\x7f" * 256)
    assert done.returncode == 0
    assert bytes(screen.data[:768]) == bytes(256) + b"\x7f" * 256 + bytes(256)
    done = mapdev.run(["cat", "/dev/fb0"], capture_output=True)
    assert done.stdout == bytes(screen.data)
    seek = f"seek={screen.size // 256 + 1}"
    command = ["dd", "if=/dev/zero", "of=/dev/fb0", "bs=256", "count=1", seek]
    done = mapdev.run(command, capture_output=True)
    assert done.returncode == 1
    assert b"File too large" in done.stderr
