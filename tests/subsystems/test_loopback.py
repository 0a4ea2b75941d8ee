"""The gallery's loopback: what one program shows another captures."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from pace import patience

from mapdev.video.pattern import Pattern
from mapdev.video.pixels import FORMATS

LIMIT = patience(30)
SIZE = WIDTH, HEIGHT = 64, 48
BYTES = WIDTH * HEIGHT
WRITE = """
    fd = open_device("/dev/video1")
    maps = [map_buffer(fd, index, OUTPUT) for index in range(request(fd, 3, OUTPUT).count)]
    def show(index, value):
        maps[index][:3072] = bytes([value]) * 3072
        queue(fd, index, OUTPUT, bytesused=3072, field=V4L2_FIELD_NONE)
"""


def finish(process, text="\n"):
    out, errors = process.communicate(text, timeout=LIMIT)
    assert process.returncode == 0, errors
    return out


@pytest.fixture
def loopback(host):
    return host.add("loopback", "/dev/video0", size="64x48", format="GREY", rate=50)


@pytest.mark.parametrize("wait", ["streaming", "always"])
def test_nothing_is_lost(host, start_client, wait):
    loopback = host.add(
        "loopback", "/dev/video0", size="64x48", format="GREY", wait=wait
    )  # fmt: skip
    read = """
        fd = open_device()
        maps = start(fd, 2)
        print(flush=True); input()
        for number in range(20):
            b = dequeue(fd)
            assert (b.sequence, b.bytesused) == (number, 3072)
            assert maps[b.index][0] == maps[b.index][3071] == number
            queue(fd, b.index)
    """
    write = (
        WRITE
        + """
    for index in range(3): show(index, index)
    on(fd, OUTPUT)
    print(flush=True)
    for number in range(3, 20):
        b = dequeue(fd, OUTPUT)
        assert b.sequence == number - 3
        show(b.index, number)
    for _ in range(3): dequeue(fd, OUTPUT)
"""
    )
    first, second = (read, write) if wait == "streaming" else (write, read)
    one = start_client(first)
    one.stdout.readline()
    other = start_client(second)
    other.stdout.readline()
    for process in (one, other):
        process.stdin.write("\n")
        process.stdin.flush()
    finish(one)
    finish(other)
    assert loopback.written == 20 and loopback.captured == 20


def test_without_a_reader_pictures_pass_by(loopback, start_client, host):
    finish(start_client(WRITE + """
    show(0, 1); on(fd, OUTPUT)
    for number in range(10): show(dequeue(fd, OUTPUT).index, number)
"""))  # fmt: skip
    host.settle()
    assert loopback.written == 11 and loopback.captured == 0


def test_a_reader_that_is_slow(host, start_client):
    loopback = host.add("loopback", "/dev/video0", size="64x48", format="GREY", wait="never")
    reader = start_client("""
        fd = open_device(); maps = start(fd, 2)
        print(flush=True); input()
        numbers = []
        for _ in range(2):
            b = dequeue(fd); numbers.append(b.sequence); queue(fd, b.index)
        print(flush=True); input()
        b = dequeue(fd)
        assert numbers == [0, 1] and b.sequence == 5 and maps[b.index][0] == 99, b.sequence
    """)
    reader.stdout.readline()
    writer = start_client(WRITE + """
    show(0, 0); on(fd, OUTPUT)
    for number in range(4): show(dequeue(fd, OUTPUT).index, number)
    dequeue(fd, OUTPUT)
    print(flush=True); input()
    show(0, 99)
    dequeue(fd, OUTPUT)
""")  # fmt: skip
    writer.stdout.readline()
    for process in (reader, writer):
        process.stdin.write("\n")
        process.stdin.flush()
        if process is reader:
            reader.stdout.readline()
    finish(writer)
    finish(reader)
    assert loopback.written == 6


def test_the_reader_has_the_format_of_the_writer(host, video_client):
    host.add("loopback", "/dev/video0")
    video_client("""
        out, cap = open_device("/dev/video1"), open_device()
        f = V4l2Format(type=OUTPUT)
        f.fmt.pix.width, f.fmt.pix.height, f.fmt.pix.pixelformat = 101, 77, V4L2_PIX_FMT_GREY
        f = ioctl(out, VIDIOC_S_FMT, f)
        assert (f.fmt.pix.width, f.fmt.pix.height) == (100, 76)
        p = V4l2Streamparm(type=OUTPUT)
        p.parm.output.timeperframe.numerator, p.parm.output.timeperframe.denominator = 1, 17
        ioctl(out, VIDIOC_S_PARM, p)
        g = V4l2Format(type=CAPTURE)
        g.fmt.pix.width, g.fmt.pix.height, g.fmt.pix.pixelformat = 640, 480, V4L2_PIX_FMT_YUYV
        pix = ioctl(cap, VIDIOC_S_FMT, g).fmt.pix
        assert (pix.width, pix.height, pix.pixelformat) == (100, 76, V4L2_PIX_FMT_GREY)
        rate = ioctl(cap, VIDIOC_G_PARM, V4l2Streamparm(type=CAPTURE)).parm.capture.timeperframe
        assert (rate.numerator, rate.denominator) == (1, 17)
        d = ioctl(cap, VIDIOC_ENUM_FMT, V4l2Fmtdesc(type=CAPTURE))
        assert d.pixelformat == V4L2_PIX_FMT_GREY
        fails(errno.EINVAL, ioctl, cap, VIDIOC_ENUM_FMT, V4l2Fmtdesc(type=CAPTURE, index=1))
        request(cap, 2)
        f = ioctl(out, VIDIOC_S_FMT, f)                     # the same again
        f.fmt.pix.width = 200
        fails(errno.EBUSY, ioctl, out, VIDIOC_S_FMT, f)     # the reader has buffers
    """)


def test_when_no_picture_comes(loopback, host, start_client, require_program):
    require_program("v4l2-ctl", "v4l-utils")
    host.run(["v4l2-ctl", "-c", "sustain_framerate=1"], check=True)
    reader = start_client("""
        fd = open_device(); maps = start(fd, 4)
        def value():
            b = dequeue(fd); found = maps[b.index][0]; queue(fd, b.index)
            return found
        print(flush=True)
        assert [value() for _ in range(4)] == [9] * 4
        print(flush=True); input()
        wait_until(lambda: value() == 0)            # black
        assert value() == 0
    """)
    reader.stdout.readline()
    writer = start_client(WRITE + """
    show(0, 9); on(fd, OUTPUT); dequeue(fd, OUTPUT)
    print(flush=True); input()
""")  # fmt: skip
    reader.stdout.readline()
    host.run(["v4l2-ctl", "-c", "timeout=50"], check=True)
    finish(reader)
    finish(writer)


def test_options_that_are_refused(host):
    with pytest.raises(ValueError, match="wait='x': it is never, streaming or always"):
        host.add("loopback", "/dev/video0", wait="x")


def test_a_reader_that_is_killed(loopback, host, start_client):
    reader = start_client("fd = open_device(); maps = start(fd); print(flush=True); input()")
    reader.stdout.readline()
    reader.kill()
    reader.wait(LIMIT)
    host.settle()
    assert not loopback.is_reading


def test_the_device_is_pulled_out(loopback, host, start_client):
    reader = start_client("""
        fd = open_device(); start(fd); out = open_device("/dev/video1")
        print(flush=True)
        fails(errno.ENODEV, dequeue, fd)
        fails(errno.ENODEV, request, out, 2, OUTPUT)
    """)
    reader.stdout.readline()
    host.remove(loopback)
    finish(reader)


@pytest.mark.parametrize("node", [0, 1])
def test_compliance(loopback, host, require_program, node):
    require_program("v4l2-compliance", "v4l-utils")
    # Without a writer the reader gets black pictures.
    host.run(["v4l2-ctl", "-c", "timeout=20"], check=True)
    done = host.run(
        ["v4l2-compliance", "-d", f"/dev/video{node}", "-s3"], text=True, timeout=patience(240),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    total = re.search(r"Total.*: (\d+), Succeeded: (\d+), Failed: 0, Warnings: 0", done.stdout)
    assert total is not None and done.returncode == 0, done.stdout
    assert int(total[1]) >= 52


def test_from_ffmpeg_to_v4l2_ctl(host, require_program, tmp_path):
    require_program("ffmpeg", "ffmpeg")
    require_program("v4l2-ctl", "v4l-utils")
    loopback = host.add("loopback", "/dev/video0", size="64x48", format="RGB24", wait="always")
    sent = b"".join(Pattern().picture(number, 0, SIZE).pixels.tobytes() for number in range(5))
    to = tmp_path / "frames"
    command = ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x48",
               "-i", "-", "-f", "v4l2", "/dev/video1"]  # fmt: skip
    with host.popen(command, stdin=subprocess.PIPE) as writer:
        writer.stdin.write(sent)
        writer.stdin.close()
        host.run(
            ["v4l2-ctl", "--stream-mmap", "--stream-count=5", f"--stream-to={to}"],
            check=True, timeout=LIMIT, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert writer.wait(LIMIT) == 0
    assert to.read_bytes() == sent and loopback.written == 5
    assert FORMATS["RGB3"].sizeimage(*SIZE) == len(sent) // 5


def test_numpy_is_wanted_by_name(host, monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(OSError, match=r"loopback needs NumPy: pip install 'mapdev\[camera\]'"):
        host.add("loopback", "/dev/video0")
