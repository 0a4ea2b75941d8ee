"""The gallery's camera: its pictures, its clock, and what a test can have it do."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time

import numpy as np
import pytest
from pace import patience
from PIL import Image

import mapdev
from mapdev.host.loading import DriverError
from mapdev.video.pattern import BARS, Pattern, frame_number
from mapdev.video.pixels import FORMATS, decode_jpeg

WIDTH, HEIGHT = SIZE = 64, 48
LIMIT = patience(30)
# Y', Cb, Cr of the bars in BT.601, limited range: what any text on video has.
YCBCR = ((235, 128, 128), (210, 16, 146), (170, 166, 16), (145, 54, 34),
         (106, 202, 222), (81, 90, 240), (41, 240, 110), (16, 128, 128))  # fmt: skip
SAVE = """
    fd = open_device()
    maps = start(fd)
    for number in range({count}):
        b = dequeue(fd)
        print(b.sequence, b.flags & V4L2_BUF_FLAG_ERROR, b.bytesused, b.timestamp.tv_sec,
              b.timestamp.tv_usec)
        open("{path}/%d" % number, "wb").write(maps[b.index][:b.bytesused])
        queue(fd, b.index)
    off(fd)
"""


@pytest.fixture
def add(host):
    def add_camera(held=True, **options):
        camera = host.add("camera", "/dev/video0", **{"size": "64x48", **options})
        if held:
            camera.clock.hold()
        return camera

    return add_camera


def finish(process, text="\n"):
    out, errors = process.communicate(text, timeout=LIMIT)
    assert process.returncode == 0, errors
    return out


@pytest.fixture
def save(start_client, tmp_path):
    """Have a client save pictures, while the clock is stepped; return their bytes and what it says."""

    def run(camera, count=1, steps=None):
        process = start_client(SAVE.format(count=count, path=tmp_path))
        if camera.clock.is_held:
            camera.clock.step(count if steps is None else steps, timeout=LIMIT)
        said = [tuple(map(int, line.split())) for line in finish(process).splitlines()]
        return [(tmp_path / str(number)).read_bytes() for number in range(count)], said

    return run


def drawn(number=0):
    return Pattern().picture(number, number / 30, SIZE).pixels.copy()


# --- pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["RGB24", "BGR24", "GREY", "Y16"])
def test_each_pixel_is_as_it_was_drawn(add, save, name):
    frames, _ = save(add(format=name), 3)
    for number, data in enumerate(frames):
        rgb = drawn(number)
        grey = np.asarray(Image.fromarray(rgb).convert("L"))
        want = {"RGB24": rgb, "BGR24": rgb[..., ::-1], "GREY": grey, "Y16": grey.repeat(2, 1)}[name]
        assert data == want.tobytes()


@pytest.mark.parametrize("name", ["YUYV", "UYVY", "NV12"])
def test_colours_are_those_of_bt_601(add, save, name):
    (data,), _ = save(add(format=name))
    plane = np.frombuffer(data, np.uint8)
    for bar, (y, cb, cr) in enumerate(YCBCR):
        x = (bar * WIDTH // len(BARS) + 4) & ~1  # an even pixel within the bar, of the first row
        if name == "NV12":
            chroma = plane[WIDTH * HEIGHT :]
            found = plane[x], chroma[x], chroma[x + 1]
        else:
            group = plane[2 * x : 2 * x + 4]
            found = group[[0, 1, 3]] if name == "YUYV" else group[[1, 0, 2]]
        assert np.abs(np.array(found, int) - (y, cb, cr)).max() <= 1, f"bar {bar}: {found}"
    assert frame_number(FORMATS[name].decode(data, *SIZE)) == 0


def test_jpeg(add, save):
    frames, said = save(add(format="MJPG", size="320x240"), 2)
    for number, data in enumerate(frames):
        rgb = decode_jpeg(data)
        assert rgb.shape == (240, 320, 3) and frame_number(rgb) == number
        assert len(data) == said[number][2] < 320 * 240
        original = Pattern().picture(number, number / 30, (320, 240)).pixels
        assert np.abs(rgb.astype(int) - original).mean() < 5


def test_a_function_of_the_test(add, save):
    def frames(number):
        return np.full((HEIGHT, WIDTH, 3), (number, 10, 20), np.uint8)

    found, _ = save(add(source=frames, format="RGB24"), 3)
    assert found == [frames(number).tobytes() for number in range(3)]


def test_an_image_is_offered_in_its_own_size(host, video_client, tmp_path):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "still.png")
    camera = host.add("camera", "/dev/video0", source=str(tmp_path / "still.png"), format="RGB24")
    assert camera.modes.size == (70, 50)
    done = host.run(["head", "-c", str(pixels.nbytes), "/dev/video0"], stdout=subprocess.PIPE)
    assert done.stdout == pixels.tobytes()


def test_last_frame_and_image_are_what_the_program_has(add, save):
    camera = add(format="RGB24")
    with pytest.raises(RuntimeError, match="no program was given a picture"):
        camera.last_frame()
    frames, _ = save(camera, 2)
    assert camera.last_frame() == frames[1] and camera.frames == 2
    assert camera.image().tobytes() == frames[1]


def test_planes_of_their_own(host, start_client):
    camera = host.add("camera", "/dev/video0", size="64x48", format="NM12", mplane=1)
    camera.clock.hold()
    process = start_client("""
        M = V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE
        fd = open_device()
        planes = (V4l2Plane * 2)()
        b = V4l2Buffer(index=0, type=M, length=2, memory=MMAP)
        b.m.planes = ctypes.addressof(planes)
        request(fd, 2, M)
        ioctl(fd, VIDIOC_QUERYBUF, b)
        views = [mmap.mmap(fd, p.length, offset=p.m.mem_offset) for p in planes]
        ioctl(fd, VIDIOC_QBUF, b)
        on(fd, M)
        ioctl(fd, VIDIOC_DQBUF, b)
        assert [p.bytesused for p in planes] == [64 * 48, 64 * 24]
        print((views[0][:] [:64 * 48] + views[1][:][:64 * 24]).hex())
    """)
    camera.clock.step(timeout=LIMIT)
    data = bytes.fromhex(finish(process))
    assert data == camera.last_frame()
    rgb = FORMATS["NM12"].decode([data[: 64 * 48], data[64 * 48 :]], *SIZE)
    assert frame_number(rgb) == 0 and np.abs(rgb[0, ::8].astype(int) - BARS).max() <= 3


# --- what programs set ---------------------------------------------------------------------------


def test_controls_act_on_the_picture(add, host, tmp_path, require_program):
    require_program("v4l2-ctl", "v4l-utils")
    camera = add(format="RGB24")

    def with_controls(settings):
        command = ["v4l2-ctl", "-c", settings, "--stream-mmap", "--stream-count=1"]
        with host.popen([*command, f"--stream-to={tmp_path}/frame"]) as process:
            camera.clock.step(timeout=LIMIT)
            assert process.wait(LIMIT) == 0
        data = (tmp_path / "frame").read_bytes()
        return np.frombuffer(data, np.uint8).reshape(HEIGHT, WIDTH, 3).astype(int)

    rgb = drawn().astype(int)
    assert (with_controls("horizontal_flip=1") == rgb[:, ::-1]).all()
    assert (with_controls("horizontal_flip=0,vertical_flip=1") == rgb[::-1]).all()
    brighter = with_controls("vertical_flip=0,brightness=148")
    assert (brighter == np.minimum(rgb + 20, 255)).all()
    assert (with_controls("brightness=128,gain=16") == np.minimum(rgb * 2, 255)).all()
    assert (with_controls("gain=0,saturation=0")[..., 0] == np.asarray(
        Image.fromarray(rgb.astype(np.uint8)).convert("L"))).all()  # fmt: skip
    flat = with_controls("saturation=128,contrast=0")
    assert (flat == 128).all()
    darker = with_controls("contrast=128,exposure_time_absolute=33")
    assert darker.max() == 255 * 33 // 333
    soft = with_controls("exposure_time_absolute=333,focus_absolute=100")
    assert np.abs(np.diff(soft[2], axis=0)).max() < 128
    assert (with_controls("focus_absolute=0") == rgb).all()


def test_a_control_during_a_stream(add, start_client, require_program, host):
    require_program("v4l2-ctl", "v4l-utils")
    camera = add(format="GREY")
    process = start_client("""
        fd = open_device(); maps = start(fd)
        for want in (255, 128 + 127 - 28):
            b = dequeue(fd)
            assert maps[b.index][0] == want, maps[b.index][0]
            queue(fd, b.index)
    """)
    camera.clock.step(timeout=LIMIT)
    host.run(["v4l2-ctl", "-c", "brightness=100"], check=True)
    camera.clock.step(timeout=LIMIT)
    finish(process)


def test_jpeg_quality(add, save, host, require_program):
    require_program("v4l2-ctl", "v4l-utils")
    camera = add(format="MJPG", size="320x240")
    (good,), _ = save(camera)
    host.run(["v4l2-ctl", "-c", "compression_quality=10"], check=True)
    (poor,), _ = save(camera)
    assert len(poor) < len(good) / 2 and decode_jpeg(poor).shape == (240, 320, 3)


def test_formats_sizes_and_rates_are_those_of_the_options(host, video_client):
    camera = host.add(
        "camera", "/dev/video0", size="128x96+64x48", rate="30000/1001+7.5", format="MJPG+Y16"
    )
    video_client("""
        fd = open_device()
        def formats():
            index = 0
            while True:
                yield ioctl(fd, VIDIOC_ENUM_FMT, V4l2Fmtdesc(index=index, type=CAPTURE)).pixelformat
                index += 1
        found = []
        try:
            for one in formats(): found.append(one)
        except OSError as error:
            assert error.errno == errno.EINVAL
        assert found == [V4L2_PIX_FMT_MJPEG, V4L2_PIX_FMT_Y16]
        f = V4l2Format(type=CAPTURE)
        f.fmt.pix.width, f.fmt.pix.height, f.fmt.pix.pixelformat = 70, 40, V4L2_PIX_FMT_Y16
        f = ioctl(fd, VIDIOC_S_FMT, f)
        assert (f.fmt.pix.width, f.fmt.pix.height) == (64, 48)
        assert (f.fmt.pix.bytesperline, f.fmt.pix.sizeimage) == (128, 128 * 48)
        p = V4l2Streamparm(type=CAPTURE)
        p.parm.capture.timeperframe.numerator, p.parm.capture.timeperframe.denominator = 1, 8
        p = ioctl(fd, VIDIOC_S_PARM, p)
        rate = p.parm.capture.timeperframe
        assert (rate.numerator, rate.denominator) == (2, 15)
        f.fmt.pix.pixelformat = V4L2_PIX_FMT_NV12
        assert ioctl(fd, VIDIOC_TRY_FMT, f).fmt.pix.pixelformat == V4L2_PIX_FMT_Y16
        request(fd, 2)
        fails(errno.EBUSY, ioctl, fd, VIDIOC_S_FMT, f)
    """)
    assert str(camera.modes) == "Y16 64x48 at 15/2"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "nothing.png"}, "no source 'nothing.png': write pattern"),
        ({"source": "nowhere.module:x"}, "can't be loaded"),
        ({"source": 7}, "no function and no generator"),
        ({"source": lambda: "a picture"}, "a picture is an array of shape"),
        ({"size": "640"}, "write WIDTHxHEIGHT"),
        ({"size": "641x480"}, "sizes are even numbers"),
        ({"size": [(16, 16)]}, "from 32x16 to 8192x8192"),
        ({"size": (640, 480, 3)}, "is no size"),
        ({"rate": "fast"}, "is no rate: write pictures a second"),
        ({"rate": 0}, "0.01 to 1000 pictures a second"),
        ({"format": "H264"}, "no format 'H264': there are YUYV, UYVY"),
        ({"format": "YUYV+NM12"}, "no format 'NM12'"),
    ],
)
def test_options_that_are_refused(host, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        host.add("camera", "/dev/video0", **options)


def test_an_unknown_option_names_those_that_there_are(host):
    with pytest.raises(DriverError, match=r"unexpected keyword argument 'fps'.*rate"):
        host.add("camera", "/dev/video0", fps=30)


# --- the clock -----------------------------------------------------------------------------------


def test_frames_of_a_held_clock_are_the_same_each_time(add, save):
    camera = add(format="YUYV", rate=25)
    camera.clock.hold(at=7)
    first, second = save(camera, 4), save(camera, 4)
    assert first == second
    assert first[1] == [(number, 0, 64 * 48 * 2, 7, 40000 * number) for number in range(4)]


def test_a_running_clock(add, save):
    camera = add(held=False, rate=100)
    before = time.monotonic()
    frames, said = save(camera, 5)
    after = time.monotonic()
    times = [sec + usec / 1e6 for *_, sec, usec in said]
    assert before < times[0] and times == sorted(set(times)) and times[-1] < after
    assert [number for number, *_ in said] == sorted({number for number, *_ in said})
    for data, (number, *_) in zip(frames, said, strict=True):
        assert frame_number(FORMATS["YUYV"].decode(data, *SIZE)) == number


def test_a_picture_without_a_buffer_is_lost(add, start_client):
    camera = add(held=False, rate=50)
    process = start_client("""
        fd = open_device(); maps = start(fd, 2)
        first = [dequeue(fd) for _ in range(2)]
        print(flush=True); input()
        queue(fd, 0)
        assert dequeue(fd).sequence > first[1].sequence + 3
    """)
    process.stdout.readline()
    before = camera.clock.frames
    deadline = time.monotonic() + LIMIT
    while camera.clock.frames < before + 5:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    finish(process)


# --- what a test has it do -----------------------------------------------------------------------


def test_lost_and_broken_pictures(add, save):
    camera = add(format="GREY")
    camera.fail(1)
    _, said = save(camera, 2)
    assert [entry[:3] for entry in said] == [(0, 64, 64 * 24), (1, 0, 64 * 48)]


def test_dropped_pictures_are_missing_numbers(add, start_client):
    camera = add()
    process = start_client("""
        fd = open_device(); maps = start(fd)
        numbers = []
        for _ in range(3):
            b = dequeue(fd); numbers.append(b.sequence); queue(fd, b.index)
        assert numbers == [0, 3, 4], numbers
    """)
    camera.clock.step(timeout=LIMIT)
    camera.drop(2)
    camera.clock.step(2, timeout=LIMIT)
    finish(process)


def test_a_stream_that_breaks(add, start_client):
    camera = add()
    process = start_client("""
        fd = open_device(); start(fd)
        dequeue(fd)
        print(flush=True)
        fails(errno.EIO, dequeue, fd)
        assert polled(fd) & select.POLLERR
        off(fd)
        print(flush=True)
        queue(fd, 0); on(fd)
        dequeue(fd)
    """)
    camera.clock.step(timeout=LIMIT)
    process.stdout.readline()
    camera.break_stream()
    process.stdout.readline()  # else the step might be the broken stream's
    camera.clock.step(timeout=LIMIT)
    finish(process)


def test_a_camera_that_vanishes(add, start_client, host):
    camera = add()
    process = start_client("""
        fd = open_device(); maps = start(fd)
        dequeue(fd)
        print(flush=True)
        fails(errno.ENODEV, dequeue, fd)
        fails(errno.ENODEV, queue, fd, 0)
        fails(errno.ENOENT, open_device)
        assert polled(fd) & (select.POLLERR | select.POLLHUP) == select.POLLERR | select.POLLHUP
        maps[0][0]          # what is mapped stays
    """)
    camera.clock.step(timeout=LIMIT)
    process.stdout.readline()
    time.sleep(0.05)  # so that it waits in DQBUF, as a rule
    camera.vanish()
    assert not camera.is_streaming
    finish(process)
    with pytest.raises(RuntimeError, match="not at any node"):
        host.close()
        camera._host = None
        camera.vanish()


def test_waiting_for_a_program(add, start_client):
    camera = add()
    with pytest.raises(TimeoutError, match=r"no program streams.*0 files are open"):
        camera.wait_streaming(0.01)
    process = start_client("fd = open_device(); start(fd); print(flush=True); input()")
    camera.wait_streaming(LIMIT)
    assert camera.is_streaming
    with pytest.raises(TimeoutError, match="0 of 1 pictures after"):
        camera.wait_frames(1, 0.01)
    camera.clock.step(timeout=LIMIT)
    camera.wait_frames(1, LIMIT)
    process.stdout.readline()
    finish(process)


def test_what_the_program_has_set(add, start_client, host):
    camera = add(format="YUYV+MJPG", size="64x48+128x96", rate="30+15")
    process = start_client("fd = open_device(); start(fd); print(flush=True); input()")
    camera.expect_format("YUYV", SIZE, 30, timeout=LIMIT)
    camera.expect_format(timeout=LIMIT)
    for wrong in ({"format": "MJPG"}, {"size": (128, 96)}, {"rate": 15}):
        with pytest.raises(AssertionError, match="the program has set YUYV 64x48 at 30, not "):
            camera.expect_format(**wrong)
    process.stdout.readline()
    finish(process)
    host.settle()
    with pytest.raises(TimeoutError, match="no program streams"):
        camera.expect_format("YUYV", timeout=0.01)


# --- sources that do wrong -----------------------------------------------------------------------


def test_a_source_that_raises(add, save, caplog):
    def frames(number):
        if number in (1, 2):
            raise RuntimeError("the lens cap is on")
        return np.zeros((HEIGHT, WIDTH, 3), np.uint8)

    _, said = save(add(source=frames, format="GREY"), 4)
    assert [entry[1:3] for entry in said] == [(0, 3072), (64, 0), (64, 0), (0, 3072)]
    assert caplog.text.count("camera: no picture from its source") == 1
    caplog.clear()


def test_a_source_that_ends(add, start_client, caplog):
    camera = add(source=iter([np.zeros((HEIGHT, WIDTH, 3), np.uint8)]))
    process = start_client("""
        fd = open_device(); start(fd)
        dequeue(fd)
        fails(errno.EIO, dequeue, fd)
    """)
    camera.clock.step(2, timeout=LIMIT)
    finish(process)
    assert "has no more pictures" in caplog.text
    caplog.clear()


def test_an_assertion_in_a_source_is_a_failure_of_the_test(add, save, host, caplog):
    def frames(number):
        assert number == 0, "only one was expected"
        return np.zeros((HEIGHT, WIDTH, 3), np.uint8)

    save(add(source=frames), 2)
    assert [str(error).partition("\n")[0] for error in host.failures] == ["only one was expected"]
    host.failures.clear()
    caplog.clear()


def test_a_slow_source_loses_nothing(add, save):
    def frames(number):
        time.sleep(0.03)
        return np.full((HEIGHT, WIDTH, 3), number, np.uint8)

    frames_, said = save(add(held=False, source=frames, rate=100, format="GREY"), 5)
    assert [entry[0] for entry in said] == list(range(5))
    assert [data[0] for data in frames_] == list(range(5))


def test_a_source_that_blocks(add, start_client, caplog):
    goes_on, is_asked = threading.Event(), threading.Event()

    def frames(number):
        if number == 1:
            is_asked.set()
            assert goes_on.wait(LIMIT)
        return np.full((HEIGHT, WIDTH, 3), 10 + number, np.uint8)

    camera = add(held=False, source=frames, rate=100, format="GREY")
    process = start_client("""
        fd = open_device(); maps = start(fd)
        assert maps[dequeue(fd).index][0] == 10
        print(flush=True); input()
        off(fd)
        print(flush=True); input()
        for index in range(3): queue(fd, index)
        on(fd)
        for number in range(3):
            b = dequeue(fd)
            assert (b.sequence, maps[b.index][0]) == (number, 10 + number)
    """)
    process.stdout.readline()
    assert is_asked.wait(LIMIT)
    process.stdin.write("\n")
    process.stdin.flush()
    process.stdout.readline()
    assert "its source has not returned, the stream ends without it" in caplog.text
    caplog.clear()
    goes_on.set()
    finish(process)
    assert not caplog.text, "nothing was given back twice"
    assert camera.frames >= 3


# --- nothing lost --------------------------------------------------------------------------------


def test_a_program_that_is_killed(add, start_client, host):
    camera = add(held=False)
    process = start_client("fd = open_device(); start(fd); print(flush=True); input()")
    camera.wait_frames(2, LIMIT)
    process.kill()
    process.wait(LIMIT)
    host.settle()
    assert not camera.is_streaming and camera._thread is None
    assert camera.node.queue.num_buffers == 0


def test_many_frames_without_growth(add, start_client, host):
    add(held=False, size="32x16", rate=1000)
    process = start_client("""
        import resource
        fd = open_device(); maps = start(fd, 4)
        for turn in range(2):
            for number in range(600):
                queue(fd, dequeue(fd).index)
            print(flush=True); input()
    """)
    sizes = []
    for _ in range(2):
        process.stdout.readline()
        host.settle()
        with open("/proc/self/statm") as statm:
            sizes.append(int(statm.read().split()[1]))
        process.stdin.write("\n")
        process.stdin.flush()
    assert sizes[1] - sizes[0] < 500, f"pages in memory: {sizes}"
    finish(process)


# --- compliance ----------------------------------------------------------------------------------


def compliance(camera, host, *options):
    """Run v4l2-compliance; a picture comes as soon as there is a buffer, so that none is lost."""
    is_done = threading.Event()
    camera.clock.hold()

    def step():
        while not is_done.is_set():
            try:
                camera.clock.step(timeout=0.2)
            except TimeoutError:
                continue
            is_done.wait(0.005)

    stepping = threading.Thread(target=step)
    stepping.start()
    try:
        done = host.run(
            ["v4l2-compliance", "-d", "/dev/video0", *options], text=True, timeout=patience(240),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    finally:
        is_done.set()
        stepping.join()
    wrong = [line for line in done.stdout.split("\n") if "fail:" in line or "warn:" in line]
    assert wrong == []
    total = re.search(r"Total.*: (\d+), Succeeded: (\d+), Failed: 0, Warnings: 0", done.stdout)
    assert total is not None and done.returncode == 0, done.stdout
    assert total[1] == total[2]
    return int(total[1])


@pytest.mark.parametrize("mplane", [0, 1])
def test_compliance(host, require_program, mplane):
    require_program("v4l2-compliance", "v4l-utils")
    camera = host.add("camera", "/dev/video0", mplane=mplane)
    assert compliance(camera, host, "-s10", "-a") >= 52


def test_compliance_of_all_formats(host, require_program):
    require_program("v4l2-compliance", "v4l-utils")
    camera = host.add("camera", "/dev/video0", size="320x240", rate="30")
    assert compliance(camera, host, "-f") >= 53


def test_compliance_of_a_running_camera(host, require_program):
    require_program("v4l2-compliance", "v4l-utils")
    host.add("camera", "/dev/video0", size="320x240", rate="10")
    done = host.run(
        ["v4l2-compliance", "-d", "/dev/video0", "-s3"], text=True, timeout=patience(240),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    wrong = [line for line in done.stdout.split("\n") if "fail:" in line or "warn:" in line]
    # If the machine has much else to do the program is late, and loses pictures.
    wrong = [line for line in wrong if "got sequence number" not in line]
    assert wrong == [] and "Failed: 0" in done.stdout, done.stdout


def test_numpy_is_wanted_by_name(host, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(OSError, match=r"camera needs NumPy: pip install 'mapdev\[camera\]'"):
        host.add("camera", "/dev/video0")
    assert mapdev.host is not None
