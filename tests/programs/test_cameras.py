"""Programs that capture video, unmodified, with the gallery's camera: each sees the very pictures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pace import patience

import mapdev
from mapdev.video.pattern import Pattern, frame_number
from mapdev.video.pixels import FORMATS, decode_jpeg

LIMIT = patience(60)
WIDTH, HEIGHT = SIZE = 320, 240
ROOT = Path(__file__).parents[2]


@pytest.fixture
def host():
    with mapdev.host() as made:
        yield made


@pytest.fixture
def camera(host):
    """A camera whose clock is held."""
    made = host.add("camera", "/dev/video0", size="320x240", rate=25)
    made.clock.hold()
    return made


@pytest.fixture
def capture(host, camera):
    """Run a program while the clock is stepped; return what it prints, and its errors."""

    def run(*command, steps=1, env=None):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": env}
        with host.popen([str(word) for word in command], **pipes) as process:
            try:
                camera.clock.step(steps, timeout=LIMIT)
            except TimeoutError:
                process.kill()
                raise AssertionError(process.communicate()) from None
            out, errors = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, errors
        return out, errors

    return run


def drawn(number):
    return Pattern().picture(number, number / 25, SIZE).pixels.copy()


def in_format(name, number):
    entry = FORMATS[name]
    data = bytearray(entry.sizeimage(*SIZE))
    entry.encode(drawn(number), entry.planes(data, *SIZE))
    return bytes(data)


# --- v4l2-ctl ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["mmap", "user", "poll"])
@pytest.mark.parametrize("name", ["YUYV", "NV12", "BGR3"])
def test_v4l2_ctl(capture, require_program, tmp_path, how, name):
    require_program("v4l2-ctl", "v4l-utils")
    mode = ["--stream-mmap", "--stream-poll"] if how == "poll" else [f"--stream-{how}"]
    to = tmp_path / "frames"
    capture(
        "v4l2-ctl", f"--set-fmt-video=pixelformat={name}", *mode, "--stream-count=3",
        f"--stream-to={to}", steps=3,
    )  # fmt: skip
    assert to.read_bytes() == b"".join(in_format(name, number) for number in range(3))


def test_v4l2_ctl_lists(host, camera, require_program):
    require_program("v4l2-ctl", "v4l-utils")
    options = ["--all", "--list-formats-ext", "--list-ctrls"]
    done = host.run(["v4l2-ctl", *options], capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0 and done.stderr == ""
    for text in (
        "Card type        : mapdev camera", "Bus info         : platform:video0",
        "'YUYV' (YUYV 4:2:2)", "'MJPG' (Motion-JPEG, compressed)", "Size: Discrete 320x240",
        "Interval: Discrete 0.040s (25.000 fps)", "brightness 0x00980900 (int)",
        "exposure_time_absolute 0x009a0902 (int)", "Frames per second: 25.000 (25/1)",
    ):  # fmt: skip
        assert text in done.stdout, done.stdout


# --- ffmpeg --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["yuyv422", "rgb24", "gray", "nv12"])
def test_ffmpeg_raw(capture, camera, require_program, name):
    require_program("ffmpeg", "ffmpeg")
    data, _ = capture(
        "ffmpeg", "-v", "error", "-f", "v4l2", "-input_format", name, "-i", "/dev/video0",
        "-frames:v", 2, "-f", "rawvideo", "-", steps=3,
    )  # fmt: skip
    fourcc = {"yuyv422": "YUYV", "rgb24": "RGB3", "gray": "GREY", "nv12": "NV12"}[name]
    assert data == in_format(fourcc, 0) + in_format(fourcc, 1)


def test_ffmpeg_mjpeg(capture, require_program, tmp_path):
    require_program("ffmpeg", "ffmpeg")
    capture(
        "ffmpeg", "-v", "error", "-f", "v4l2", "-input_format", "mjpeg", "-i", "/dev/video0",
        "-frames:v", 2, "-c", "copy", "-f", "image2", tmp_path / "%d.jpg", steps=3,
    )  # fmt: skip
    for number in range(2):
        rgb = decode_jpeg((tmp_path / f"{number + 1}.jpg").read_bytes())
        assert frame_number(rgb) == number
        assert np.abs(rgb.astype(int) - drawn(number)).mean() < 5


# --- OpenCV --------------------------------------------------------------------------------------

OPENCV = """
import sys, cv2, numpy
camera = cv2.VideoCapture({source}, cv2.CAP_V4L2)
assert camera.isOpened()
{settings}
for number in range(2):
    ok, frame = camera.read()
    assert ok
    sys.stdout.buffer.write(frame.tobytes())
"""


@pytest.fixture
def opencv(capture):
    pytest.importorskip("cv2", reason="OpenCV is missing: pip install opencv-python-headless")

    def run(source, settings=""):
        code = OPENCV.format(source=source, settings=settings)
        data, _ = capture(sys.executable, "-c", code, steps=3)  # it throws the first away
        return np.frombuffer(data, np.uint8).reshape(2, HEIGHT, WIDTH, -1)

    return run


@pytest.mark.parametrize("source", ["0", "'/dev/video0'"])
def test_opencv(opencv, source):
    for number, frame in enumerate(opencv(source), 1):
        assert (frame[..., ::-1] == drawn(number)).all()


def test_opencv_with_settings(opencv, camera):
    settings = """
camera.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*"MJPG"))
assert camera.get(cv2.CAP_PROP_FPS) == 25
assert camera.set(cv2.CAP_PROP_BRIGHTNESS, 100) and camera.get(cv2.CAP_PROP_BRIGHTNESS) == 100
"""
    for number, frame in enumerate(opencv("0", settings), 1):
        assert frame_number(frame) == number
        assert abs(int(frame[8, 8, 0]) - (255 - 28)) < 6
    assert str(camera.modes) == "MJPG 320x240 at 25"


# --- the documentation ---------------------------------------------------------------------------


def test_the_first_test_of_the_documentation(tmp_path):
    pytest.importorskip("cv2", reason="OpenCV is missing: pip install opencv-python-headless")
    text = (ROOT / "docs/camera.md").read_text()
    program, test = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[:2]
    (tmp_path / "test_first.py").write_text(program + test)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_first.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip
    assert "1 passed" in done.stdout, done.stdout
