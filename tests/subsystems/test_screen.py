"""The gallery's output device: what programs show is what a test gets."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from pace import patience

from mapdev.video.pattern import Pattern, frame_number
from mapdev.video.pixels import FORMATS, encode_jpeg

LIMIT = patience(30)
SIZE = WIDTH, HEIGHT = 64, 48


def finish(process, text="\n"):
    out, errors = process.communicate(text, timeout=LIMIT)
    assert process.returncode == 0, errors
    return out


def drawn(number):
    return Pattern().picture(number, number / 30, SIZE).pixels.copy()


def in_format(name, number):
    entry = FORMATS[name]
    if entry.is_compressed:
        return encode_jpeg(drawn(number))
    data = bytearray(entry.sizeimage(*SIZE))
    entry.encode(drawn(number), entry.planes(data, *SIZE))
    return bytes(data)


@pytest.mark.parametrize("name", ["YUYV", "NV12", "RGB3", "MJPG", "GREY"])
def test_buffers_that_a_program_fills(host, start_client, tmp_path, name):
    screen = host.add("screen", "/dev/video0", rate=200)
    sent = [in_format(name, number) for number in range(4)]
    for number, data in enumerate(sent):
        (tmp_path / str(number)).write_bytes(data)
    process = start_client(
        f"""
        fd = open_device()
        f = V4l2Format(type=OUTPUT)
        f.fmt.pix.width, f.fmt.pix.height = {WIDTH}, {HEIGHT}
        f.fmt.pix.pixelformat = v4l2_fourcc(*"{name}")
        f = ioctl(fd, VIDIOC_S_FMT, f)
        assert (f.fmt.pix.width, f.fmt.pix.height) == {SIZE}
        maps = [map_buffer(fd, index, OUTPUT) for index in range(request(fd, 2, OUTPUT).count)]
        def show(index, number):
            data = open("{tmp_path}/%d" % number, "rb").read()
            maps[index][:len(data)] = data
            queue(fd, index, OUTPUT, bytesused=len(data), field=V4L2_FIELD_NONE)
        show(0, 0); show(1, 1)
        on(fd, OUTPUT)
        for number in (2, 3):
            b = dequeue(fd, OUTPUT)
            assert b.sequence == number - 2
            show(b.index, number)
        for _ in range(2): dequeue(fd, OUTPUT)
    """.replace("v4l2_fourcc", "(lambda *x: sum(ord(y) << 8 * i for i, y in enumerate(x)))")
    )
    finish(process)
    host.settle()
    assert [frame.data for frame in screen.frames] == sent
    assert [frame.sequence for frame in screen.frames] == [0, 1, 2, 3]
    assert [frame_number(frame.pixels) for frame in screen.frames] == [0, 1, 2, 3]
    assert screen.image().size == SIZE and not screen.is_streaming and screen.shown == 4


def test_a_program_that_writes(host, tmp_path):
    screen = host.add("screen", "/dev/video0", size="64x48", format="RGB24", rate=200)
    sent = b"".join(in_format("RGB3", number) for number in range(3))
    host.run(
        ["dd", "of=/dev/video0", f"bs={len(sent) // 3}", "status=none"], input=sent, check=True
    )
    assert b"".join(frame.data for frame in screen.frames) == sent
    assert (screen.frames[2].pixels == drawn(2)).all()


def test_a_held_clock(host, start_client):
    screen = host.add("screen", "/dev/video0", size="64x48", format="GREY")
    screen.clock.hold()
    with pytest.raises(RuntimeError, match="no program has shown a picture"):
        screen.image()
    with pytest.raises(TimeoutError, match=r"no program streams after 0\.01 s: 0 files are open"):
        screen.wait_streaming(0.01)
    process = start_client("""
        fd = open_device()
        maps = [map_buffer(fd, index, OUTPUT) for index in range(request(fd, 2, OUTPUT).count)]
        for index in range(2):
            maps[index][:] = bytes([7 + index]) * len(maps[index])
            queue(fd, index, OUTPUT, bytesused=64 * 48)
        on(fd, OUTPUT)
        dequeue(fd, OUTPUT)
        print(flush=True); input()
        off(fd, OUTPUT)
    """)
    screen.wait_streaming(LIMIT)
    with pytest.raises(TimeoutError, match="0 of 1 pictures"):
        screen.wait_frames(1, 0.01)
    screen.clock.step(timeout=LIMIT)
    process.stdout.readline()
    finish(process)
    assert [frame.data[0] for frame in screen.frames] == [7], "what was not shown is lost"


def test_how_many_are_kept(host):
    screen = host.add("screen", "/dev/video0", size="64x48", format="GREY", rate=500, keep=2)
    sent = b"".join(bytes([number]) * 3072 for number in range(5))
    host.run(["dd", "of=/dev/video0", "bs=3072", "status=none"], input=sent, check=True)
    assert screen.shown == 5 and [frame.data[0] for frame in screen.frames] == [3, 4]


@pytest.mark.parametrize("mplane", [0, 1])
def test_compliance(host, require_program, mplane):
    require_program("v4l2-compliance", "v4l-utils")
    host.add("screen", "/dev/video0", rate=100, mplane=mplane)
    done = host.run(
        ["v4l2-compliance", "-d", "/dev/video0", "-s5"], text=True, timeout=patience(240),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    total = re.search(r"Total.*: (\d+), Succeeded: (\d+), Failed: 0, Warnings: 0", done.stdout)
    assert total is not None and done.returncode == 0, done.stdout
    assert int(total[1]) >= 52


def test_ffmpeg(host, require_program):
    require_program("ffmpeg", "ffmpeg")
    screen = host.add("screen", "/dev/video0", rate=200)
    size = f"{WIDTH}x{HEIGHT}"
    host.run(
        ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-i", "-",
         "-f", "v4l2", "/dev/video0"],
        input=b"".join(in_format("RGB3", number) for number in range(3)), check=True,
        timeout=LIMIT,
    )  # fmt: skip
    assert str(screen.modes).startswith("RGB3 64x48")
    assert len(screen.frames) == 3
    for number, frame in enumerate(screen.frames):
        assert (frame.pixels == drawn(number)).all()


def test_numpy_is_wanted_by_name(host, monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(OSError, match=r"screen needs NumPy: pip install 'mapdev\[camera\]'"):
        host.add("screen", "/dev/video0")
    assert np is not None
