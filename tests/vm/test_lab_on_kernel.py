"""The last exercise of the lab on a real kernel: by the kernel host, and as a module in C."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mapdev.host.loading import load
from mapdev.lab.exercises import EXERCISES
from mapdev.module.build import build
from mapdev.skeleton.module import write
from mapdev.vm import kernels

SOLUTION = Path(__file__).parents[1] / "lab/solutions/lab8.py"
MAPDEV = [sys.executable, "-m", "mapdev.cli"]


def test_the_finished_driver_is_asked_on_a_real_kernel(
    debian_kernel: Callable[[str], kernels.Kernel],
) -> None:
    debian_kernel("6.12")
    done = subprocess.run([*MAPDEV, "lab", "8", str(SOLUTION), "--vm"], capture_output=True,
                          text=True, timeout=600, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    _, _, there = done.stdout.partition("on Linux 6.12")
    assert there.count("  done  ") == 7 and "MISSING" not in done.stdout
    assert done.stdout.endswith("all of it is done\n")


def test_the_finished_driver_as_a_module_in_c(
    debian_kernel: Callable[[str], kernels.Kernel], tmp_path: Path
) -> None:
    """What is said to be done by hand at the end of the exercise."""
    skeleton = write(load(f"{SOLUTION}:Lab"))
    assert skeleton.left == []
    for name, text in skeleton.files.items():
        (tmp_path / name).write_text(text)
    kernel = debian_kernel("6.12")
    assert kernel.build is not None
    module = build(kernel.build, ["KCFLAGS=-Werror", "W=1"], tmp_path)
    program = tmp_path / "use8.py"
    program.write_text(EXERCISES[7].start("use8.py"))
    done = subprocess.run(
        [*MAPDEV, "vm", "--kernel", "6.12", "--timeout", "500", "--module", str(module), "--",
         sys.executable, "-S", str(program)], capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "5 pages; page 2: b'written'\nread at the end: b''\n"
