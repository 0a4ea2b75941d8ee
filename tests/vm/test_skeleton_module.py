"""What `mapdev skeleton` writes for the gallery builds without a warning, and works on Linux."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from availability import unavailable
from tests.conformance.expectations import CANNOT, Pair, load_expected, normalise
from tests.conformance.hosts import build_client

from mapdev.host.loading import gallery, load
from mapdev.module.build import build
from mapdev.skeleton.module import write
from mapdev.support.tools import UnavailableError
from mapdev.vm import kernels, machine

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
# What is said when qemu 7 itself aborts, which it does now and then as it emulates Linux 6.12.
ABORTED, ATTEMPTS = "failed with status -6", 3
# Drivers for which little is said in C, or other names.
ODD = [f"{Path(__file__).parents[1]}/unit/test_skeleton.py:{name}"
       for name in ("Odd", "Failing", "Renaming")]  # fmt: skip
USE_OF_LAZY = """
import errno, mmap, os, signal
fd = os.open("/dev/NAME", os.O_RDWR)
assert os.pread(fd, 9000, 0) == bytes(4096)  # up to the end of a page
m = mmap.mmap(fd, 2 * 65536)
m[0:5], m[40000:40003] = b"hello", b"abc"
assert os.pread(fd, 5, 0) == b"hello" and os.pread(fd, 3, 40000) == b"abc"
assert os.pwrite(fd, b"world", 4096) == 5 and m[4096:4101] == b"world"
assert os.pwrite(fd, bytes(5000), 4097) == 4095 and m[4096:4098] == b"w\\0"
assert mmap.mmap(fd, 4096, offset=4096)[:1] == b"w"
private = mmap.mmap(fd, 8192, mmap.MAP_PRIVATE)
private[4096] = 1
assert m[4096:4097] == b"w" and private[:5] == b"hello"
assert os.lseek(fd, 0, os.SEEK_END) == 65536 and os.read(fd, 1) == b"" == os.pread(fd, 1, 70000)
for at in 65536, 70000:
    try:
        os.pwrite(fd, b"x", at)
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
    else:
        raise AssertionError("no error")
child = os.fork()
if not child:
    m[65536]
status = os.waitpid(child, 0)[1]
assert os.WTERMSIG(status) == signal.SIGBUS, status
print("works")
"""


def module_of(driver: str, kernel: kernels.Kernel, place: Path) -> Path:
    skeleton = write(load(driver))
    directory = place / driver.rpartition(":")[2]
    directory.mkdir()
    for file, text in skeleton.files.items():
        (directory / file).write_text(text)
    assert kernel.build is not None
    return build(kernel.build, ["KCFLAGS=-Werror", "W=1"], directory)


@pytest.mark.parametrize("series", kernels.SERIES)
def test_the_gallery_builds_without_a_warning(
    series: str, debian_kernel: Callable[[str], kernels.Kernel], tmp_path: Path
) -> None:
    kernel = debian_kernel(series)
    for driver in *sorted(gallery()), *ODD:
        assert module_of(driver, kernel, tmp_path).exists()


NAMES = ("contiguous", "vmalloc", "lazy")
USES = {"lazy": USE_OF_LAZY}


@pytest.mark.parametrize("name", NAMES)
def test_a_device_in_c_answers_as_the_one_in_python(
    name: str, debian_kernel: Callable[[str], kernels.Kernel], tmp_path: Path
) -> None:
    module = module_of(name, debian_kernel("6.12"), tmp_path)
    use = tmp_path / "use.py"
    use.write_text(textwrap.dedent(USES.get(name, USE)).replace("NAME", name))
    command = [sys.executable, "-m", "mapdev.cli"]
    python = [sys.executable, "-S", str(use)]
    in_machine = ["vm", "--kernel", "6.12", "--timeout", "500", "--module", str(module), "--"]
    for _ in range(ATTEMPTS):
        done = subprocess.run([*command, *in_machine, *python], capture_output=True, text=True,
                              timeout=600, check=False)  # fmt: skip
        if ABORTED not in done.stderr:
            break
    assert (done.returncode, done.stdout) == (0, "works\n"), done.stderr
    done = subprocess.run(
        [*command, "run", "-d", f"/dev/{name}={name}", "--", *python],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "works\n"), done.stderr


# The reference device that maps in the same way, and how many of its rows need no control device.
REFERENCES = {"contiguous": ("pfn", 120), "vmalloc": ("vmalloc", 60), "lazy": ("fault", 120)}
# What the reference devices count, which a device without a control device does not say.
_COUNTED = re.compile(r"\[(?:-|[a-z_]+[+-]\d+(?: [a-z_]+[+-]\d+)*)\]")
# What the gallery's devices have and the reference devices lack, or the other way round.
_FSYNC = {"sys_msync": ("SYNC=EINVAL ", "SYNC=0 ")}  # for msync
_NO_CLOSE = {  # areas without vm_ops->close are merged
    "sys_mlock_mid": ("after_munlock nvma=3", "after_munlock nvma=1"),
    "mprotect_middle": ("restored nvma=3", "restored nvma=1"),
}
_DIFFER = {"contiguous": _FSYNC, "vmalloc": _FSYNC, "lazy": _NO_CLOSE}
_COMPLAINTS = re.compile(
    r"^.*\b(?:WARNING|BUG|Oops|INFO: task|refcount_t|general protection|Bad page).*$", re.M
)


@pytest.mark.parametrize("series", kernels.SERIES)
def test_devices_in_c_pass_the_conformance_rows(
    series: str,
    debian_kernel: Callable[[str], kernels.Kernel],
    require_program: Callable[[str, str], str],
    tmp_path: Path,
) -> None:
    """All rows that need no control device, of the reference device that maps in the same way."""
    require_program("cc", "gcc libc6-dev")
    kernel = debian_kernel(series)
    client = build_client(tmp_path)
    expected = load_expected()
    script = ["mkdir -p /devnx && mount -t tmpfs -o noexec devnx /devnx && cd /var/tmp || exit"]
    for name, (device, _) in REFERENCES.items():
        module = module_of(name, kernel, tmp_path)
        rows = ",".join(pair.row for pair in expected if pair.device == device)
        script += [f"/run/mapdev/busybox insmod {module} && echo '@ {name}'",
                   f"cp -a /dev/{name} /devnx/",
                   f"{client} {rows} {device}=/dev/{name}",
                   f"/run/mapdev/busybox rmmod {name} && echo '@ gone'"]  # fmt: skip
    output: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
    for attempt in range(ATTEMPTS):
        try:
            outcome = machine.run(
                kernel, ["sh", "-c", "\n".join(script)], disk=True, timeout=500,
                write=lambda number, data: output[number].extend(data),
            )  # fmt: skip
            break
        except UnavailableError as error:
            if ABORTED not in str(error) or attempt == ATTEMPTS - 1:
                unavailable(error)
            for data in output.values():
                data.clear()
    said, errors = (output[number].decode(errors="replace") for number in (1, 2))
    assert outcome.status == 0 and said.count("@ gone") == len(NAMES), errors
    for name, (device, least) in REFERENCES.items():
        section = said.partition(f"@ {name}\n")[2].partition("@ gone")[0]
        seen = dict(line.split("\t", 1) for line in section.splitlines())
        answered = {row: text for row, text in seen.items() if not text.startswith(CANNOT)}
        different = []
        for row, text in answered.items():
            change = _DIFFER[name].get(row, ("", ""))
            wanted = {
                normalise(_COUNTED.sub("[]", one)).replace(*change, 1)
                for one in expected[Pair(row, device)]
            }
            if normalise(text) not in wanted:
                different.append(f"{row}-{name}\n  expected {wanted}\n  but seen {normalise(text)}")
        print(f"{name}: {len(answered)} of {len(seen)} rows need no control device")
        assert not different, "\n".join(different)
        assert len(answered) >= least
    assert _COMPLAINTS.findall(outcome.console) == []
