"""The system calls of a processor, as the kernel's headers on this machine number them."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess

import pytest

MARKS = ("__NR_syscalls", "__NR_arch_specific_syscall")  # no calls


def numbers_of(arch: str) -> dict[str, int]:
    """Return names and numbers from <asm/unistd.h>; skip where no compiler for it is installed."""
    compiler = "cc" if arch == platform.machine() else f"{arch}-linux-gnu-gcc"
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    done = subprocess.run(
        [compiler, "-E", "-dM", "-"],
        input="#include <asm/unistd.h>\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    macros = dict(re.findall(r"^#define (__NR\w+) (\w+)$", done.stdout, re.MULTILINE))
    numbers = {}
    for macro, value in macros.items():
        number = macros.get(value, value)  # on aarch64 some stand for another macro
        if macro.startswith("__NR_") and macro not in MARKS and number.isdigit():
            numbers[macro.removeprefix("__NR_")] = int(number)
    return numbers
