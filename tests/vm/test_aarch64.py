"""The unit and embedded-host tests, run on aarch64: in a VM, so that any machine can run them."""

from __future__ import annotations

import os
import platform
import re
import subprocess

import pytest
from aarch64 import run

from mapdev.support.tools import UnavailableError

# What does not depend on the processor, the command line, is not run again; nor is, as a user, what
# does not depend on who runs it.
SUITES = {
    "root": [
        "tests/unit", "tests/embedded", "--ignore=tests/embedded/test_cli.py",
        "--ignore=tests/embedded/test_plugin.py",
    ],
    "user": [
        "tests/embedded/test_mmap.py", "tests/embedded/test_signals.py",
        "tests/embedded/test_passing_on.py", "tests/embedded/test_areas.py",
        "tests/embedded/test_faults.py",
    ],
}  # fmt: skip
TIMEOUT = 1500  # seconds; without KVM everything takes some ten times as long


@pytest.mark.skipif(platform.machine() == "aarch64", reason="the tests themselves run on aarch64")
@pytest.mark.parametrize("user", SUITES)
def test_suites_pass_on_aarch64(user: str) -> None:
    # -n2: the VM has two processors; -v: which test it was, when time runs out.
    options = ["-v", "-rs", "-n2", "-p", "no:cacheprovider"]
    command = ["python3", "-m", "pytest", *options, *SUITES[user]]
    try:
        done = run(command, user=user, timeout=TIMEOUT, capture=True)
    except UnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        pytest.fail(f"no end after {TIMEOUT} s; so far:\n{output.decode(errors='replace')}")
    print(done.stdout)
    assert done.returncode == 0
    assert re.search(r"\b[1-9]\d* passed\b", done.stdout), "no test ran"
