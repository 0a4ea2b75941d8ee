"""Clients of /dev/mem: static busybox devmem, python-periphery's MMIO, dd, on a register block."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, ClassVar

import pytest

from mapdev.drivers.registers import Register, Registers

BASE = 0x43C00000


class Timer(Registers):
    registers: ClassVar = {
        "CTRL": Register(0x00, reset=0x1),
        "COUNT": Register(0x04, reset=0xDEADBEEF),
        "STATUS": Register(0x08, reset=0x1234, width=16),
        "IRQ": Register(0x0A, width=8),
        "TIME": Register(0x10, reset=0x1122334455667788, width=64),
        "LAST": Register(0xFFFC, reset=7),
    }


@pytest.fixture
def timer(mapdev: Any) -> Any:
    return mapdev.add(Timer, "/dev/mem")


@pytest.fixture
def devmem(mapdev: Any, require_program: Any) -> Any:
    """Run `devmem ADDRESS [WIDTH [VALUE]]` and return the number it prints."""
    busybox = require_program("busybox", "busybox-static")

    def run(*words: object) -> int | None:
        done = mapdev.run([busybox, "devmem", *map(str, words)], capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
        return int(done.stdout, 16) if done.stdout else None

    return run


def test_devmem_reads_reset_values(timer: Any, devmem: Any) -> None:
    assert devmem(hex(BASE)) == 0x1
    assert devmem(hex(BASE + 4)) == 0xDEADBEEF
    assert devmem(hex(BASE + 8), 16) == 0x1234
    assert devmem(hex(BASE + 16), 64) == 0x1122334455667788
    assert devmem(hex(BASE + 0xFFFC)) == 7  # devmem maps the page behind it as well
    assert devmem(hex(BASE + 0xF000)) == 0


def test_devmem_and_the_driver_see_the_same(timer: Any, devmem: Any) -> None:
    devmem(hex(BASE + 4), 32, 0xCAFEF00D)
    devmem(hex(BASE + 10), 8, 0x5A)
    assert (timer["COUNT"], timer["IRQ"], timer["STATUS"]) == (0xCAFEF00D, 0x5A, 0x1234)
    timer["COUNT"] += 1
    assert devmem(hex(BASE + 4)) == 0xCAFEF00E
    timer.reset()
    assert devmem(hex(BASE + 4)) == 0xDEADBEEF


def test_devmem_outside_the_block(mapdev: Any, timer: Any, require_program: Any) -> None:
    busybox = require_program("busybox", "busybox-static")
    for address in (BASE - 4096, BASE + 0x10000, 0):
        done = mapdev.run([busybox, "devmem", hex(address)], capture_output=True)
        assert done.returncode == 1
        assert b"mmap: Invalid argument" in done.stderr


def test_busybox_is_static(require_program: Any) -> None:
    """What the other tests prove of a static program, they prove only if it is one."""
    busybox = require_program("busybox", "busybox-static")
    done = subprocess.run(["ldd", busybox], capture_output=True, text=True)
    if done.returncode == 0:
        pytest.skip(f"{busybox} is dynamic here: apt-get install busybox-static")


MMIO = f"""
from periphery import MMIO
with MMIO({BASE:#x} + 4, 12) as block:   # in the middle of a page
    assert block.read32(0) == 0xDEADBEEF, hex(block.read32(0))
    assert block.read16(4) == 0x1234
    block.write32(0, 0x01020304)
    block.write8(6, 0xA5)
    assert block.read(0, 4) == bytes((4, 3, 2, 1))
"""


def test_python_periphery(mapdev: Any, timer: Any) -> None:
    pytest.importorskip("periphery", reason="python-periphery is missing: pip install it")
    done = mapdev.run([sys.executable, "-c", MMIO], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (timer["COUNT"], timer["IRQ"]) == (0x01020304, 0xA5)


def test_dd_by_physical_address(mapdev: Any, timer: Any) -> None:
    where = ["if=/dev/mem", "bs=4", "count=1", "status=none", f"skip={(BASE + 4) // 4}"]
    done = mapdev.run(["dd", *where], capture_output=True)
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", b"\xef\xbe\xad\xde")
    done = mapdev.run(["dd", "if=/dev/mem", "bs=4", "count=1"], capture_output=True)
    assert done.returncode == 1
    assert b"Bad address" in done.stderr
