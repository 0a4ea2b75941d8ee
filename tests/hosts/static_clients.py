"""Static C clients: compiled here, or found where somebody compiled them before.

A virtual machine compiles slowly, and may have no compiler: whoever starts one sets MAPDEV_CLIENTS
to a directory of compiled clients.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent.parent / "clients"
FLAGS = ("-O1", "-Wall", "-static", "-pthread")


def find(name: str, directory: Path) -> Path:
    """Return the client tests/clients/NAME.c, compiled into `directory` unless it exists."""
    program = Path(os.environ.get("MAPDEV_CLIENTS", directory)) / name
    if not program.exists():
        compiler = shutil.which("cc")
        if compiler is None:
            if os.environ.get("CI"):
                pytest.fail("no C compiler: apt-get install gcc libc6-dev")
            pytest.skip("no C compiler: apt-get install gcc libc6-dev")
        subprocess.run([compiler, *FLAGS, "-o", program, SOURCES / f"{name}.c"], check=True)
    return program
