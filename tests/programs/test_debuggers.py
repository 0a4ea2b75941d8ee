"""gdb, strace and ltrace of a program that maps devices: they hold its threads, and mmap works.

The program has to map its first device while it has one thread.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mapdev.host.core.host import Host

CLIENTS = Path(__file__).parent.parent / "clients"
PATIENCE = 60  # seconds
DEVICES = pytest.mark.parametrize("driver", ["contiguous", "vmalloc", "lazy"])
LINKING = pytest.mark.parametrize("linking", ["-static", "-pie", "-static-pie"])

Require = Callable[[str, str], str]
Build = Callable[[str, str], Path]


@pytest.fixture
def build(require_program: Require, tmp_path: Path) -> Build:
    """Compile a program of tests/clients for debuggers, linked as an option says."""

    def compile_it(name: str, linking: str) -> Path:
        gcc = require_program("gcc", "gcc libc6-dev")
        options = ["-g", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", linking]
        subprocess.run([gcc, *options, "-o", tmp_path / name, CLIENTS / f"{name}.c"], check=True)
        return tmp_path / name

    return compile_it


def _run(mapdev: Host, *command: str | Path) -> str:
    done = mapdev.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@DEVICES
@LINKING
def test_strace(
    mapdev: Host, require_program: Require, build: Build, tmp_path: Path, driver: str, linking: str
) -> None:
    """It shows one mmap that is begun again, and one thread of mapdev's."""
    strace = require_program("strace", "strace")
    mapdev.add(driver, "/dev/x")
    log = tmp_path / "log"
    _run(mapdev, strace, "-f", "-o", log, build("debugged", linking), "/dev/x")
    shown = [line for line in log.read_text().splitlines() if "MAP_SHARED, 512" in line]
    assert shown[0].endswith("= -1 ERESTART (Interrupted system call should be restarted)")
    assert len(shown) == 2 + 3 * 20 and not any("= -1" in line for line in shown[1:])
    assert log.read_text().count("CLONE_UNTRACED") == 1


@DEVICES
@LINKING
def test_gdb(
    mapdev: Host, require_program: Require, build: Build, driver: str, linking: str
) -> None:
    gdb = require_program("gdb", "gdb")
    mapdev.add(driver, "/dev/x")
    shown = _run(
        mapdev, gdb, "-batch", "-nx", "-ex", "break use", "-ex", "run", "-ex", "delete",
        "-ex", "print area[4096]", "-ex", "print area[4096] = 66", "-ex", "print area[4096]",
        "-ex", "continue", "--args", build("debugged", linking), "/dev/x",
    )  # fmt: skip
    assert "$1 = 65 'A'" in shown and "$3 = 66 'B'" in shown
    assert "exited normally" in shown


def test_signals(mapdev: Host, require_program: Require, build: Build, tmp_path: Path) -> None:
    """Each process maps for the first time while a timer's signal interrupts it all the time."""
    strace = require_program("strace", "strace")
    mapdev.add("lazy", "/dev/x")
    _run(mapdev, strace, "-f", "-o", tmp_path / "log", build("interrupted", "-pie"), "/dev/x")
    assert "CLONE_UNTRACED" in (tmp_path / "log").read_text()


def test_ltrace(mapdev: Host, require_program: Require, build: Build) -> None:
    ltrace = require_program("ltrace", "ltrace")
    mapdev.add("contiguous", "/dev/x")
    _run(mapdev, ltrace, "-f", "-S", build("debugged", "-pie"), "/dev/x")


@DEVICES
def test_a_child_of_fork(
    mapdev: Host, require_program: Require, build: Build, tmp_path: Path, driver: str
) -> None:
    """A child keeps what its parent has mapped, and can map itself."""
    strace = require_program("strace", "strace")
    mapdev.add(driver, "/dev/x")
    program = build("mapper", "-static")
    command = [strace, "-f", "-o", tmp_path / "log", program, "/dev/x"]
    done = mapdev.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if driver == "lazy":  # nobody would bring pages into the child
        assert (done.returncode, "child >= 0: Operation not permitted" in done.stderr) == (1, True)
    else:
        assert done.returncode == 0, done.stderr
