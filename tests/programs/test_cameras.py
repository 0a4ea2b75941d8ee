"""Programs that capture video, unmodified, with the gallery's camera: each sees the very pictures."""

from __future__ import annotations

import http.server
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from pace import patience
from PIL import Image

import mapdev
from mapdev.video.pattern import Pattern, frame_number
from mapdev.video.pixels import FORMATS, decode_jpeg

LIMIT = patience(60)
WIDTH, HEIGHT = SIZE = 320, 240
ROOT = Path(__file__).parents[2]


def need(module, package):
    """Skip the test for want of a Python package; in CI, where nothing may be missing, fail."""
    if importlib.util.find_spec(module) is None:
        reason = f"{module} is missing: pip install {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


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
    need("cv2", "opencv-python-headless")

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


# --- other programs ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["mmap", "dmabuf", "rw"])
def test_gstreamer_raw(capture, require_program, tmp_path, mode):
    require_program("gst-launch-1.0", "gstreamer1.0-tools gstreamer1.0-plugins-good")
    to = tmp_path / "frames"
    capture(
        "gst-launch-1.0", "-q", "v4l2src", f"io-mode={mode}", "num-buffers=2", "!",
        "video/x-raw,format=YUY2,width=320,height=240", "!", "filesink", f"location={to}", steps=2,
    )  # fmt: skip
    assert to.read_bytes() == in_format("YUYV", 0) + in_format("YUYV", 1)


def test_gstreamer_jpeg(capture, require_program, tmp_path):
    require_program("gst-launch-1.0", "gstreamer1.0-tools gstreamer1.0-plugins-good")
    capture(
        "gst-launch-1.0", "-q", "v4l2src", "num-buffers=2", "!", "image/jpeg", "!",
        "multifilesink", f"location={tmp_path}/%d.jpg", steps=2,
    )  # fmt: skip
    for number in range(2):
        assert frame_number(decode_jpeg((tmp_path / f"{number}.jpg").read_bytes())) == number


def test_gstreamer_shows_on_the_screen(host, require_program):
    require_program("gst-launch-1.0", "gstreamer1.0-tools gstreamer1.0-plugins-good")
    screen = host.add("screen", "/dev/video0", rate=200)
    done = host.run(
        ["gst-launch-1.0", "-q", "videotestsrc", "num-buffers=3", "pattern=blue", "!",
         "video/x-raw,format=RGB,width=320,height=240", "!",
         "v4l2sink", "device=/dev/video0", "io-mode=mmap", "sync=false"],
        capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(screen.modes).startswith("RGB3 320x240") and screen.shown >= 3
    assert all((frame.pixels == (0, 0, 255)).all() for frame in screen.frames)


def test_yavta(capture, require_program, tmp_path):
    require_program("yavta", "yavta")
    capture(
        "yavta", "-c2", "-n3", "-f", "YUYV", "-s", "320x240", f"-F{tmp_path}/#.bin", "/dev/video0",
        steps=2,
    )  # fmt: skip
    for number in range(2):
        assert (tmp_path / f"{number:06}.bin").read_bytes() == in_format("YUYV", number)


def test_fswebcam(capture, require_program, tmp_path):
    require_program("fswebcam", "fswebcam")
    capture(
        "fswebcam", "-d", "v4l2:/dev/video0", "-r", "320x240", "-p", "YUYV", "-S", "1",
        "--no-banner", "--png", "0", tmp_path / "picture.png", steps=2,
    )  # fmt: skip
    with Image.open(tmp_path / "picture.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert frame_number(pixels) == 1
    as_full_range = 16 + drawn(1).astype(int) * 219 // 255  # which it takes for the range
    assert np.abs(pixels.astype(int) - as_full_range).mean() < 4


def test_pygame(capture):
    need("pygame", "pygame")
    code = """
import sys, pygame, pygame.camera
pygame.camera.init()
assert pygame.camera.list_cameras() == ["/dev/video0"]
camera = pygame.camera.Camera("/dev/video0", (320, 240), "RGB")
camera.start()
sys.stdout.buffer.write(b"|" + pygame.image.tobytes(camera.get_image(), "RGB"))
camera.stop()
"""
    data, _ = capture(sys.executable, "-c", code)
    assert data.partition(b"|")[2] == drawn(0).tobytes()


def test_linuxpy(capture):
    need("linuxpy", "linuxpy")
    code = """
import sys
from linuxpy.video.device import Device
with Device.from_id(0) as camera:
    for number, frame in enumerate(camera):
        assert frame.frame_nb == number
        sys.stdout.buffer.write(bytes(frame))
        if number == 1:
            break
"""
    data, _ = capture(sys.executable, "-c", code, steps=2)
    assert data == in_format("YUYV", 0) + in_format("YUYV", 1)


def test_imageio(host, require_program):
    """It starts ffmpeg twice, the first time to learn the size, so the clock runs."""
    ffmpeg = require_program("ffmpeg", "ffmpeg")
    need("imageio", "imageio[ffmpeg]")
    need("imageio_ffmpeg", "imageio[ffmpeg]")
    host.add("camera", "/dev/video0", size="320x240", format="RGB24", rate=25)
    code = """
import sys, imageio
reader = imageio.get_reader("<video0>", "ffmpeg", size=(320, 240), pixelformat="rgb24")
sys.stdout.buffer.write(reader.get_next_data().tobytes())
reader.close()
"""
    done = host.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, timeout=LIMIT,
        env={**os.environ, "IMAGEIO_FFMPEG_EXE": ffmpeg},
    )  # fmt: skip
    pixels = np.frombuffer(done.stdout, np.uint8).reshape(HEIGHT, WIDTH, 3)
    assert (pixels[: HEIGHT * 3 // 4] == drawn(0)[: HEIGHT * 3 // 4]).all()
    assert frame_number(pixels) < 1000


def test_a_static_program(capture, build_client, tmp_path):
    data, _ = capture(build_client("v4l2_capture"), "/dev/video0", 2, steps=2)
    assert data == in_format("YUYV", 0) + in_format("YUYV", 1)


# --- a browser -----------------------------------------------------------------------------------

PAGE = """<!DOCTYPE html><script>
async function see() {
  const wanted = {video: {width: 320, height: 240}};
  const stream = await navigator.mediaDevices.getUserMedia(wanted);
  const video = document.createElement("video");
  video.srcObject = stream;
  video.muted = true;
  await video.play();
  await new Promise(done => video.requestVideoFrameCallback(done));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0);
  const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
  return [stream.getVideoTracks()[0].label, canvas.width, canvas.height, Array.from(data)];
}
const tell = body => fetch("/", {method: "POST", body: JSON.stringify(body)});
see().then(tell, error => tell(String(error)));
</script>"""


class Page(http.server.BaseHTTPRequestHandler):
    """Gives a browser the page, and takes what it has seen."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.server.seen.append(json.loads(text))
        self.server.has_seen.set()

    def log_message(self, *args):
        """Be quiet."""


def test_a_page_in_a_browser(host, require_program, tmp_path):
    chromium = require_program("chromium", "chromium")
    camera = host.add("camera", "/dev/video0", size="320x240", card="A camera of the test")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    server.seen, server.has_seen = [], threading.Event()
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path}", "--use-fake-ui-for-media-stream",
        f"http://127.0.0.1:{server.server_port}/",
    ]  # fmt: skip
    try:
        with host.popen(command, stderr=subprocess.DEVNULL) as browser:
            assert server.has_seen.wait(LIMIT), f"{camera.modes}, {camera.frames} pictures"
            browser.kill()
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
    (seen,) = server.seen
    assert isinstance(seen, list), seen
    label, width, height, data = seen
    assert (label.partition(" (")[0], width, height) == ("A camera of the test", WIDTH, HEIGHT)
    pixels = np.array(data, np.uint8).reshape(height, width, 4)[..., :3]
    top = HEIGHT // 2
    assert np.abs(pixels[:top, 8::40].astype(int) - drawn(0)[:top, 8::40]).max() <= 6


# --- the documentation ---------------------------------------------------------------------------


def test_the_first_test_of_the_documentation(tmp_path):
    need("cv2", "opencv-python-headless")
    text = (ROOT / "docs/camera.md").read_text()
    program, test = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[:2]
    (tmp_path / "test_first.py").write_text(program + test)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_first.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip
    assert "1 passed" in done.stdout, done.stdout
