"""What `mapdev skeleton` writes for the gallery builds without a warning, and works on Linux."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from mapdev.host.loading import gallery, load
from mapdev.module.build import build
from mapdev.skeleton.module import write
from mapdev.vm import kernels

USE = """
import errno, mmap, os
fd = os.open("/dev/NAME", os.O_RDWR)
m = mmap.mmap(fd, 65536)
m[0:5], m[40000:40003] = b"hello", b"abc"
assert os.pread(fd, 5, 0) == b"hello" and os.pread(fd, 3, 40000) == b"abc"
assert os.pwrite(fd, b"world", 4096) == 5 and m[4096:4101] == b"world"
assert mmap.mmap(fd, 4096, offset=4096)[:5] == b"world"
assert os.lseek(fd, 0, os.SEEK_END) == 65536 and os.read(fd, 1) == b""
os.fsync(fd)
def fails(code, function):
    try:
        function()
    except OSError as error:
        assert error.errno == code, error
    else:
        raise AssertionError("no error")
fails(errno.EINVAL, lambda: mmap.mmap(fd, 65536, offset=4096))
fails(errno.ENOSPC, lambda: os.pwrite(fd, b"x", 65536))
fails(errno.EFBIG, lambda: os.pwrite(fd, b"x", 70000))
fails(errno.ENOTTY, lambda: __import__("fcntl").ioctl(fd, 0x7801))
print("works")
"""


def module_of(name: str, kernel: kernels.Kernel, place: Path) -> Path:
    directory = place / name
    directory.mkdir()
    for file, text in write(load(name)).files.items():
        (directory / file).write_text(text)
    assert kernel.build is not None
    return build(kernel.build, ["KCFLAGS=-Werror", "W=1"], directory)


@pytest.mark.parametrize("series", kernels.SERIES)
def test_the_gallery_builds_without_a_warning(
    series: str, debian_kernel: Callable[[str], kernels.Kernel], tmp_path: Path
) -> None:
    kernel = debian_kernel(series)
    for name in sorted(gallery()):
        assert module_of(name, kernel, tmp_path).exists()


@pytest.mark.parametrize("name", ["contiguous", "vmalloc"])
def test_a_device_in_c_answers_as_the_one_in_python(
    name: str, debian_kernel: Callable[[str], kernels.Kernel], tmp_path: Path
) -> None:
    module = module_of(name, debian_kernel("6.12"), tmp_path)
    use = tmp_path / "use.py"
    use.write_text(textwrap.dedent(USE).replace("NAME", name))
    command = [sys.executable, "-m", "mapdev.cli"]
    python = [sys.executable, "-S", str(use)]
    done = subprocess.run(
        [*command, "vm", "--kernel", "6.12", "--timeout", "500", "--module", str(module), "--",
         *python], capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "works\n"), done.stderr
    done = subprocess.run(
        [*command, "run", "-d", f"/dev/{name}={name}", "--", *python],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "works\n"), done.stderr
