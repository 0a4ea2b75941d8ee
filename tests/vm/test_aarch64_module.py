"""The module on aarch64: compiled without a complaint, loaded and unloaded, its calls and mappings."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

import aarch64_module
import pytest
from aarch64 import run
from availability import unavailable
from vm_image import PROJECT

from mapdev.support.tools import UnavailableError, need

# What depends on the processor or its kernel: the layout of the contract, calls with their copies,
# page tables (frames and pages, faults, forks), how pages are cached. Not test_failed_mmap.py: the
# race that it waits for between two threads does not come about in this machine.
TESTS = ("test_calls.py", "test_mmap.py", "test_faults.py", "test_fork.py", "test_cache_modes.py")
TIMEOUT = 900  # seconds
pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="it is cross-compiled there")


@pytest.fixture(scope="module")
def module() -> Path:
    """The module, of which neither the compiler nor sparse has anything to say."""
    try:
        need("sparse", "sparse")
        return aarch64_module.module(["W=1", "KCFLAGS=-Werror", "C=1", "CF=-Wsparse-error"])
    except UnavailableError as error:
        unavailable(error)


def test_it_is_built(module: Path) -> None:
    assert module.stat().st_size


@pytest.mark.skipif("MAPDEV_KERNELS" not in os.environ, reason="run by make test-kernels: minutes")
@pytest.mark.timeout(TIMEOUT + 300)  # the machine's own limit comes first
def test_calls_mappings_and_faults(module: Path) -> None:
    ptes = aarch64_module.module(["KCFLAGS=-Werror"], PROJECT / "tests/kernel/ptes")
    tests = [f"tests/kernel/{name}" for name in TESTS]
    command = [
        "env",
        f"MAPDEV_PTES=/{ptes.name}",
        "python3",
        "-m",
        "pytest",
        "-v",
        "-rs",
        "-p",
        "no:cacheprovider",
        *tests,
    ]
    try:
        done = run(command, modules=[module, ptes], timeout=TIMEOUT, capture=True)
    except UnavailableError as error:
        unavailable(error)
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        pytest.fail(f"no end after {TIMEOUT} s; so far:\n{output.decode(errors='replace')}")
    print(done.stdout)
    assert done.returncode == 0
    assert re.search(r"\b[1-9]\d* passed\b", done.stdout), "no test ran"
