"""The unit and embedded-host tests, run on aarch64: in a VM, so that any machine can run them."""

from __future__ import annotations

import os
import platform
import re
import subprocess

import pytest
from aarch64 import run
from availability import unavailable

from mapdev.support.tools import UnavailableError

# Run again is what depends on the processor: its system-call numbers and structures, the filter,
# registers and stops (ptrace), signals, page faults, the agent's machine code. Not run again is what
# Python code decides alone, what only takes longer to come to the same limits, and, as a user, what
# does not depend on who runs it. Of each family of calls that is left out some tests remain, so that
# each number is used. MAPDEV_AARCH64=all runs it all, which takes twice as long.
SUITES = {
    "root": [
        "tests/unit/test_agent_code.py",
        "tests/embedded/test_areas.py", "tests/embedded/test_descriptors.py",
        "tests/embedded/test_faults.py", "tests/embedded/test_ioctl.py",
        "tests/embedded/test_misbehaviour.py", "tests/embedded/test_mmap.py",
        "tests/embedded/test_passing_on.py", "tests/embedded/test_processes.py",
        "tests/embedded/test_refused.py", "tests/embedded/test_signals.py",
        "tests/embedded/test_storms.py", "tests/embedded/test_wait_signals.py",
        "tests/embedded/test_io.py::test_read_and_write_move_the_position",
        "tests/embedded/test_io.py::test_bad_addresses",
        "tests/embedded/test_io.py::test_fsync",
        "tests/embedded/test_lifetime.py::test_kill",
        "tests/embedded/test_open.py::test_stat_is_of_a_character_device",
        "tests/embedded/test_open.py::test_open_flags",
        "tests/embedded/test_open.py::test_relative_to_a_descriptor",
        "tests/embedded/test_poll.py::test_a_wake_up_ends_the_wait",
    ],
    "user": [
        "tests/embedded/test_faults.py", "tests/embedded/test_passing_on.py",
        "tests/embedded/test_signals.py",
    ],
}  # fmt: skip
LIMITS = [
    "test_descriptors.py::test_many_open_files", "test_mmap.py::test_many_mappings",
    "test_faults.py::test_more_mappings_than_descriptors",
    "test_faults.py::test_no_room_for_another_area",
    "test_misbehaviour.py::test_no_more_areas", "test_misbehaviour.py::test_limits",
    "test_misbehaviour.py::test_kernel_threads_that_die_and_wake_madly",
    "test_misbehaviour.py::test_a_driver_that_raises_in_every_operation",
    "test_misbehaviour.py::test_two_hosts_in_one_process",
    "test_processes.py::test_timeout_kills_the_client",
]  # fmt: skip
ALL = {
    "root": ["tests/unit", "tests/embedded", "--ignore=tests/embedded/test_cli.py",
             "--ignore=tests/embedded/test_plugin.py"],
    "user": [*SUITES["user"], "tests/embedded/test_mmap.py", "tests/embedded/test_areas.py"],
}  # fmt: skip
TIMEOUT = 1500  # seconds; without KVM everything takes some ten times as long


@pytest.mark.skipif(platform.machine() == "aarch64", reason="the tests themselves run on aarch64")
@pytest.mark.parametrize("user", SUITES)
def test_suites_pass_on_aarch64(user: str) -> None:
    # -n2: the VM has two processors; -v: which test it was, when time runs out.
    options = ["-v", "-rs", "-n2", "-p", "no:cacheprovider"]
    command = ["python3", "-m", "pytest", *options, *_selection(user)]
    try:
        done = run(command, user=user, timeout=TIMEOUT, capture=True)
    except UnavailableError as error:
        unavailable(error)
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        pytest.fail(f"no end after {TIMEOUT} s; so far:\n{output.decode(errors='replace')}")
    print(done.stdout)
    assert done.returncode == 0
    assert re.search(r"\b[1-9]\d* passed\b", done.stdout), "no test ran"


def _selection(user: str) -> list[str]:
    if os.environ.get("MAPDEV_AARCH64") == "all":
        return ALL[user]
    return [*SUITES[user], *(f"--deselect=tests/embedded/{name}" for name in LIMITS)]
