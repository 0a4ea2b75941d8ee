"""The client is one static program on every processor that mapdev runs on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from .hosts import CLIENTS, FLAGS

RequireProgram = Callable[[str, str], str]


def test_it_compiles_for_aarch64(require_program: RequireProgram, tmp_path: Path) -> None:
    package = "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
    compiler = require_program("aarch64-linux-gnu-gcc", package)
    program = tmp_path / "client"
    subprocess.run([compiler, *FLAGS, "-o", program, *CLIENTS.glob("*.c")], check=True)
    assert program.read_bytes()[18] == 183  # e_machine: EM_AARCH64
