"""What all tests share: programs and clients that a test needs, or the reason for a skip."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

CLIENTS = Path(__file__).parent / "clients"
# What is downloaded for the tests is kept with the sources, and goes with `make clean`.
if "XDG_CACHE_HOME" not in os.environ:
    os.environ.setdefault("MAPDEV_CACHE", str(Path(__file__).parents[1] / ".cache"))


def missing(what: str, install: str) -> NoReturn:
    """Skip the test for want of `what`; in CI, where nothing may be missing, fail."""
    reason = f"{what} is missing: {install}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def require_program() -> Callable[[str, str], str]:
    """Return the path of a program, or skip with the command that installs it."""

    def require(name: str, package: str) -> str:
        path = shutil.which(name)
        return path or missing(name, f"apt-get install {package}")

    return require


@pytest.fixture(scope="session")
def build_client(
    require_program: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Build the static program tests/clients/NAME.c, once a session, and return its path."""
    folder = tmp_path_factory.mktemp("clients")

    def build(name: str) -> Path:
        compiler = require_program("cc", "gcc libc6-dev")
        program = folder / name
        if not program.exists():
            source = CLIENTS / f"{name}.c"
            flags = ["-static", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]
            subprocess.run([compiler, *flags, "-o", program, source], check=True)
        return program

    return build
