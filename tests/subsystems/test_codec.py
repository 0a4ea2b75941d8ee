"""The gallery's codec: JPEGs of pictures, pictures of JPEGs, and how a stream of them ends."""

from __future__ import annotations

import re
import subprocess

import numpy as np
import pytest
from pace import patience

import mapdev
from mapdev.video.pattern import Pattern, frame_number
from mapdev.video.pixels import decode_jpeg, encode_jpeg

LIMIT = patience(30)
SIZE = WIDTH, HEIGHT = 64, 48
CODEC = f"""
    fd = open_device()
    f = V4l2Format(type=OUTPUT)
    f.fmt.pix.width, f.fmt.pix.height = {WIDTH}, {HEIGHT}
    f.fmt.pix.pixelformat = ioctl(fd, VIDIOC_ENUM_FMT, V4l2Fmtdesc(type=OUTPUT)).pixelformat
    ioctl(fd, VIDIOC_S_FMT, f)
    out = [map_buffer(fd, index, OUTPUT) for index in range(request(fd, 3, OUTPUT).count)]
    cap = [map_buffer(fd, index) for index in range(request(fd, 3).count)]
    def give(index, data, stamp=0):
        out[index][:len(data)] = data
        queue(fd, index, OUTPUT, bytesused=len(data), field=V4L2_FIELD_NONE)
    def take():
        b = dequeue(fd)
        return b, cap[b.index][:b.bytesused]
    def read(number):
        return open("%s/%d" % (path, number), "rb").read()
"""


def drawn(number):
    return Pattern().picture(number, number / 30, SIZE).pixels.copy()


@pytest.fixture
def codec(host, video_client, tmp_path):
    """Make a codec, and run what follows as its client, whose input are some files."""

    def run(role, inputs, code):
        made = host.add("codec", "/dev/video0", role=role)
        for number, data in enumerate(inputs):
            (tmp_path / str(number)).write_bytes(data)
        video_client(f'    path = "{tmp_path}"\n' + CODEC + code)
        return made

    return run


def test_pictures_become_jpegs(codec, tmp_path):
    made = codec("encode", [drawn(number).tobytes() for number in range(6)], """
    on(fd); on(fd, OUTPUT)
    for number in range(3): give(number, read(number)); queue(fd, number)
    for number in range(6):
        b, data = take()
        assert b.sequence == number and not b.flags & V4L2_BUF_FLAG_ERROR
        open(f"{path}/made{number}", "wb").write(data)
        queue(fd, b.index)
        b = dequeue(fd, OUTPUT)
        if number + 3 < 6: give(b.index, read(number + 3))
""")  # fmt: skip
    assert made.done == 6
    for number in range(6):
        data = (tmp_path / f"made{number}").read_bytes()
        assert data == encode_jpeg(drawn(number), 90)
        assert np.abs(decode_jpeg(data).astype(int) - drawn(number)).mean() < 8


def test_jpegs_become_pictures(codec, tmp_path):
    jpegs = [encode_jpeg(drawn(number), 95) for number in range(2)]
    wrong = [encode_jpeg(np.zeros((16, 32, 3), np.uint8)), b"no JPEG"]
    made = codec("decode", jpegs + wrong, """
    on(fd); on(fd, OUTPUT)
    for number in range(4):
        give(0, read(number)); queue(fd, 0)
        b, data = take()
        assert bool(b.flags & V4L2_BUF_FLAG_ERROR) == (number > 1), number
        assert len(data) == (64 * 48 * 3 if number < 2 else 0)
        open(f"{path}/made{number}", "wb").write(data)
        dequeue(fd, OUTPUT)
""")  # fmt: skip
    assert made.done == 2
    for number, jpeg in enumerate(jpegs):
        data = (tmp_path / f"made{number}").read_bytes()
        assert data == decode_jpeg(jpeg).tobytes()
        assert frame_number(np.frombuffer(data, np.uint8).reshape(HEIGHT, WIDTH, 3)) == number


def test_a_codec_that_is_stopped_converts_what_is_queued(codec):
    codec("encode", [drawn(0).tobytes()], """
    ioctl(fd, VIDIOC_SUBSCRIBE_EVENT, V4l2EventSubscription(type=V4L2_EVENT_EOS))
    on(fd); on(fd, OUTPUT)
    for number in range(3): give(number, read(0))
    stop = V4l2EncoderCmd(cmd=V4L2_ENC_CMD_STOP)
    ioctl(fd, VIDIOC_ENCODER_CMD, stop)
    for number in range(3): queue(fd, number)
    lasts = [take()[0] for _ in range(3)]
    assert [bool(b.flags & V4L2_BUF_FLAG_LAST) for b in lasts] == [False, False, True]
    fails(errno.EPIPE, dequeue, fd)
    assert ioctl(fd, VIDIOC_DQEVENT, V4l2Event()).type == V4L2_EVENT_EOS
    for _ in range(3): dequeue(fd, OUTPUT)

    ioctl(fd, VIDIOC_ENCODER_CMD, V4l2EncoderCmd(cmd=V4L2_ENC_CMD_START))
    queue(fd, 0); give(0, read(0))
    b, data = take()
    assert data and not b.flags & V4L2_BUF_FLAG_LAST
    dequeue(fd, OUTPUT)

    ioctl(fd, VIDIOC_ENCODER_CMD, V4l2EncoderCmd(cmd=V4L2_ENC_CMD_STOP))    # with nothing queued
    queue(fd, 1)
    b, data = take()
    assert b.flags & V4L2_BUF_FLAG_LAST and not data
    off(fd); off(fd, OUTPUT)
""")  # fmt: skip


def test_two_programs_have_a_codec_each(codec):
    codec("encode", [drawn(0).tobytes()], """
    first = fd, out, cap
    fd = open_device()
    g = ioctl(fd, VIDIOC_G_FMT, V4l2Format(type=OUTPUT))
    assert (g.fmt.pix.width, g.fmt.pix.height) == (640, 480)
    g = ioctl(first[0], VIDIOC_G_FMT, V4l2Format(type=CAPTURE))
    assert (g.fmt.pix.width, g.fmt.pix.height) == (64, 48)
    request(fd, 2)
    f.fmt.pix.width = 100
    fails(errno.EBUSY, ioctl, fd, VIDIOC_S_FMT, f)      # there are buffers of the other size
""")  # fmt: skip


def test_v4l2_ctl(host, require_program, tmp_path):
    require_program("v4l2-ctl", "v4l-utils")
    host.add("codec", "/dev/video0")
    pictures = [drawn(number).tobytes() for number in range(3)]
    (tmp_path / "in").write_bytes(b"".join(pictures))
    host.run(
        ["v4l2-ctl", "--set-fmt-video-out=width=64,height=48,pixelformat=RGB3", "--stream-mmap",
         "--stream-out-mmap", "--stream-count=3", f"--stream-from={tmp_path}/in",
         f"--stream-to={tmp_path}/out"],
        check=True, timeout=LIMIT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    made = (tmp_path / "out").read_bytes()
    assert made.startswith(encode_jpeg(drawn(0), 90) + encode_jpeg(drawn(1), 90))


@pytest.mark.parametrize("role", ["encode", "decode"])
def test_compliance(host, require_program, role):
    """All tests but one: before 1.26 v4l2-compliance wants a media device for any JPEG codec."""
    require_program("v4l2-compliance", "v4l-utils")
    host.add("codec", "/dev/video0", role=role)
    done = host.run(
        ["v4l2-compliance", "-d", "/dev/video0", "-s5"], text=True, timeout=patience(240),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    wrong = [line for line in done.stdout.split("\n") if "fail:" in line or "warn:" in line]
    assert all("node->function != MEDIA_ENT_F_PROC_VIDEO_" in line for line in wrong), wrong
    assert len(wrong) <= 1
    total = re.search(r"Total.*: (\d+), Succeeded: (\d+), Failed: (\d+), Warnings: 0", done.stdout)
    assert total is not None and int(total[2]) >= 51 and int(total[3]) == len(wrong), done.stdout


def test_an_unknown_role(host):
    with pytest.raises(ValueError, match="role='transcode': a codec can encode or decode"):
        host.add("codec", "/dev/video0", role="transcode")


def test_numbers_beside_those_that_drivers_have_registered() -> None:
    """A loopback device registers a second node, whose number the next device doesn't get."""
    with mapdev.host("64M") as host:
        devices = [host.add(name, f"/dev/other-{name}") for name in ("loopback", "codec", "camera")]
        numbers = [device.dev.devt for device in devices]
        assert len(set(numbers)) == 3
