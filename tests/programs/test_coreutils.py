"""dd, cat, od and cmp on the two buffers: devices as files, by read, write and llseek."""

from __future__ import annotations

import subprocess
from pathlib import Path
from random import Random
from typing import Any

import pytest

SIZE = 64 << 10
DATA = Random(1).randbytes(SIZE)


@pytest.fixture(params=["contiguous", "vmalloc"])
def device(request: pytest.FixtureRequest, mapdev: Any) -> Any:
    """A driver of each kind at /dev/buffer."""
    return mapdev.add(request.param, "/dev/buffer", size=SIZE)


def output(mapdev: Any, *command: object) -> bytes:
    """Run a program that must succeed and return what it prints."""
    done = mapdev.run([str(word) for word in command], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b""), command
    stdout: bytes = done.stdout
    return stdout


def test_cat_reads_it_all(mapdev: Any, device: Any) -> None:
    device.data[:] = DATA
    assert output(mapdev, "cat", "/dev/buffer") == DATA


def test_cat_into_a_file(mapdev: Any, device: Any, tmp_path: Path) -> None:
    device.data[:] = DATA
    copy = tmp_path / "copy"
    with copy.open("wb") as file:
        assert mapdev.run(["cat", "/dev/buffer"], stdout=file).returncode == 0
    assert copy.read_bytes() == DATA


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_shell_redirections(mapdev: Any, device: Any, shell: str, require_program: Any) -> None:
    program = require_program(shell, shell)
    script = "echo first >/dev/buffer; head -c 6 </dev/buffer; exec 3<>/dev/buffer; head -c 6 <&3"
    assert output(mapdev, program, "-c", script) == b"first\n" * 2
    assert bytes(device.data[:6]) == b"first\n"


@pytest.mark.parametrize("block", [512, 4096, 4095, 65536])
def test_dd_writes_and_reads(mapdev: Any, device: Any, tmp_path: Path, block: int) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(DATA)
    quiet = (f"bs={block}", "status=none")
    output(mapdev, "dd", f"if={source}", "of=/dev/buffer", *quiet)
    assert bytes(device.data) == DATA
    output(mapdev, "dd", "if=/dev/buffer", f"of={copy}", *quiet)
    assert copy.read_bytes() == DATA


def test_dd_skip_and_seek(mapdev: Any, device: Any) -> None:
    device.data[:] = DATA
    block = ("bs=1000", "count=2", "status=none")
    assert output(mapdev, "dd", "if=/dev/buffer", "skip=7", *block) == DATA[7000:9000]
    output(mapdev, "dd", "if=/dev/zero", "of=/dev/buffer", "seek=3", *block)
    assert bytes(device.data) == DATA[:3000] + bytes(2000) + DATA[5000:]


def test_dd_past_the_end(mapdev: Any, device: Any) -> None:
    command = ["dd", "if=/dev/zero", "of=/dev/buffer", "bs=4096", "conv=notrunc"]
    done = mapdev.run(command, capture_output=True)
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    assert f"{SIZE // 4096}+0 records out".encode() in done.stderr


def test_od_from_an_offset(mapdev: Any, device: Any) -> None:
    device.data[:] = DATA
    words = output(mapdev, "od", "-An", "-v", "-tx1", "-j", 5000, "-N", 32, "/dev/buffer").split()
    assert bytes(int(word, 16) for word in words) == DATA[5000:5032]


def test_cmp(mapdev: Any, device: Any, tmp_path: Path) -> None:
    """Two devices and a file; cmp trusts st_dev and st_ino, so that these must differ as well."""
    other = mapdev.add("contiguous", "/dev/other", size=SIZE)
    same = tmp_path / "same"
    same.write_bytes(DATA)
    device.data[:] = other.data[:] = DATA
    output(mapdev, "cmp", "/dev/buffer", same)
    output(mapdev, "cmp", "/dev/buffer", "/dev/other")
    output(mapdev, "cmp", "-i", "100:100", "-n", "50", "/dev/buffer", same)
    other.data[12345] ^= 1
    done = mapdev.run(["cmp", "/dev/buffer", "/dev/other"], stdout=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stdout.startswith(b"/dev/buffer /dev/other differ: byte 12346")
