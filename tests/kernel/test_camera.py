"""The gallery's video devices on the kernel host: real nodes, with the kernel's own mmap."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mapdev

LIMIT = 120  # seconds: a program that starts takes one here
WIDTH, HEIGHT = SIZE = 64, 48


@pytest.fixture
def host() -> Iterator[Any]:
    pytest.importorskip("numpy", reason="NumPy is missing: pip install numpy")
    if shutil.which("v4l2-ctl") is None:
        pytest.skip("v4l2-ctl is missing: v4l-utils")
    with mapdev.host(kind="kernel") as made:
        yield made


def drawn(number: int) -> Any:
    from mapdev.video.pattern import Pattern

    return Pattern().picture(number, number / 30, SIZE).pixels.copy()


@pytest.mark.parametrize("how", ["mmap", "user"])
def test_pictures_of_the_camera(host: Any, tmp_path: Path, how: str) -> None:
    camera = host.add("camera", "/dev/video0", size="64x48", format="RGB24")
    camera.clock.hold()
    to = tmp_path / "frames"
    command = ["v4l2-ctl", f"--stream-{how}", "--stream-count=3", f"--stream-to={to}"]
    with host.popen(command, stderr=subprocess.DEVNULL) as process:
        camera.expect_format("RGB24", SIZE, 30, timeout=LIMIT)
        camera.clock.step(3, timeout=LIMIT)
        assert process.wait(LIMIT) == 0
    assert to.read_bytes() == b"".join(drawn(number).tobytes() for number in range(3))
    host.settle()
    assert not camera.is_streaming


def test_what_a_test_has_it_do(host: Any) -> None:
    camera = host.add("camera", "/dev/video0", size="64x48", format="GREY")
    camera.clock.hold()
    camera.drop(1)
    camera.fail(1)
    command = ["v4l2-ctl", "--stream-mmap", "--stream-count=2", "--verbose"]
    with host.popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        camera.clock.step(3, timeout=LIMIT)
        said = process.communicate(timeout=LIMIT)[0].decode()
    found = re.findall(r"seq: +(\d+) bytesused: (\d+)", said)
    assert ("1", "1536") in found and ("2", "3072") in found, said


def test_the_screen(host: Any) -> None:
    screen = host.add("screen", "/dev/video0", size="64x48", format="RGB24", rate=100)
    sent = b"".join(drawn(number).tobytes() for number in range(2))
    command = ["dd", "of=/dev/video0", f"bs={len(sent) // 2}", "status=none"]
    host.run(command, input=sent, check=True, timeout=LIMIT)
    host.settle()
    assert b"".join(frame.data for frame in screen.frames) == sent


def test_the_loopback(host: Any) -> None:
    host.add("loopback", "/dev/video0", size="64x48", format="RGB24", wait="always")
    sent = drawn(7).tobytes()
    command = ["dd", "of=/dev/video1", f"bs={len(sent)}", "status=none"]
    with host.popen(command, stdin=subprocess.PIPE) as writer:
        writer.stdin.write(sent)
        writer.stdin.close()
        read = host.run(
            ["head", "-c", str(len(sent)), "/dev/video0"], stdout=subprocess.PIPE, timeout=LIMIT
        )
        assert writer.wait(LIMIT) == 0
    assert read.stdout == sent


def test_compliance(host: Any) -> None:
    if shutil.which("v4l2-compliance") is None:
        pytest.skip("v4l2-compliance is missing: v4l-utils")
    host.add("camera", "/dev/video0", rate=5, size="64x48")
    done = host.run(
        ["v4l2-compliance", "-d", "/dev/video0", "-s2"], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=300,
    )  # fmt: skip
    wrong = [line for line in done.stdout.split("\n") if "fail:" in line or "warn:" in line]
    # A machine without KVM may be slower than the camera, which then loses pictures.
    wrong = [line for line in wrong if "got sequence number" not in line]
    assert wrong == [] and "Failed: 0" in done.stdout, done.stdout
