"""The unit and embedded-host tests, run on aarch64: in a VM, so that any machine can run them."""

from __future__ import annotations

import os
import platform
import re
import subprocess

import pytest
from aarch64 import run
from availability import unavailable
from vm_image import PROJECT

from mapdev.support.tools import UnavailableError

# Of tests/hosts and tests/embedded, run again is what depends on the processor: its system-call numbers and
# structures, the filter, registers and stops (ptrace), signals, page faults with the worker's machine
# code. Not run again is what Python code decides alone, what only takes longer to come to the same
# limits, and, as a user, what does not depend on who runs it. Of each family of calls that is left out
# some tests remain, so that each number is used. MAPDEV_AARCH64=all runs all, and tests/unit: that
# takes more than twice as long.
SUITES = {
    "root": (
        "test_fault_limits.py", "test_faults.py", "test_ioctl.py", "test_misbehaviour.py", "test_mmap.py",
        "test_passing_on.py", "test_refused.py", "test_signals.py", "test_storms.py",
        "test_wait_signals.py",
        "test_areas.py::test_exec_ends_the_areas",
        "test_areas.py::test_fork_and_the_child_s_end",
        "test_areas.py::test_forks_that_are_killed_leave_no_stopped_child",
        "test_areas.py::test_madvise_on_frames_that_a_driver_mapped",
        "test_areas.py::test_mprotect_splits_and_is_never_merged_with_a_close",
        "test_areas.py::test_mremap",
        "test_areas.py::test_msync_and_mlock",
        "test_areas.py::test_munmap",
        "test_areas.py::test_threads_and_vfork_share_the_areas",
        "test_descriptors.py::test_duplicates_are_the_same_file",
        "test_descriptors.py::test_fcntl",
        "test_descriptors.py::test_passing_a_descriptor_over_a_socket",
        "test_host_dies.py::test_a_program_whose_pages_the_host_brought_lives_on",
        "test_io.py::test_bad_addresses",
        "test_io.py::test_fsync",
        "test_io.py::test_read_and_write_move_the_position",
        "test_lifetime.py::test_kill",
        "test_open.py::test_open_flags",
        "test_open.py::test_relative_to_a_descriptor",
        "test_open.py::test_stat_is_of_a_character_device",
        "test_poll.py::test_a_wake_up_ends_the_wait",
        "test_processes.py::test_exec_drops_mappings",
        "test_processes.py::test_fork_keeps_descriptors_and_mappings",
        "test_processes.py::test_vfork_exec_and_posix_spawn_in_a_static_program",
    ),
    "user": ("test_fault_limits.py", "test_faults.py", "test_passing_on.py", "test_signals.py"),
}  # fmt: skip
# In these files, what the rule leaves out.
LEFT_OUT = (
    # How a program under a debugger maps was not seen to work there yet.
    "test_misbehaviour.py::test_ptrace_of_a_child_that_uses_a_device",
    "test_refused.py::test_a_client_under_a_debugger",
    "test_refused.py::test_a_client_with_threads_under_a_debugger",
    "test_fault_limits.py::test_no_room_for_another_area",
    "test_faults.py::test_a_driver_that_fails",
    "test_faults.py::test_more_mappings_than_descriptors",
    "test_misbehaviour.py::test_a_client_that_maps_again_and_again",
    "test_misbehaviour.py::test_a_driver_that_raises_in_every_operation",
    "test_misbehaviour.py::test_descriptors_closed_and_sent",
    "test_misbehaviour.py::test_kernel_threads_that_die_and_wake_madly",
    "test_misbehaviour.py::test_limits",
    "test_misbehaviour.py::test_no_more_areas",
    "test_misbehaviour.py::test_two_hosts_in_one_process",
    "test_misbehaviour.py::test_wild_arguments",
    "test_mmap.py::test_many_mappings",
    "test_refused.py::test_a_client_of_another_host",
)
ALL = {
    "root": ["tests/unit", "tests/hosts", "tests/embedded", "--ignore=tests/embedded/test_cli.py",
             "--ignore=tests/embedded/test_plugin.py"],
    "user": ["tests/hosts/test_mmap.py", "tests/hosts/test_areas.py", "tests/hosts/test_faults.py",
             "tests/embedded/test_signals.py", "tests/embedded/test_passing_on.py",
             "tests/embedded/test_fault_limits.py"],
}  # fmt: skip
TIMEOUT = 1500  # seconds; without KVM everything takes some ten times as long


@pytest.mark.skipif(platform.machine() == "aarch64", reason="the tests themselves run on aarch64")
@pytest.mark.timeout(TIMEOUT + 600)  # the machine's own limit comes first
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
    chosen = [_path(name) for name in SUITES[user]]
    return [*chosen, *(f"--deselect={_path(name)}" for name in LEFT_OUT)]


def _path(name: str) -> str:
    """Return the path of a test file, or of a test in it: no two files have the same name."""
    file = name.partition("::")[0]
    folders = ("tests/hosts", "tests/embedded")
    folder = next(folder for folder in folders if (PROJECT / folder / file).exists())
    return f"{folder}/{name}"


def test_what_is_chosen_exists() -> None:
    """A name that is gone from LEFT_OUT would go unnoticed: --deselect takes any."""
    for name in LEFT_OUT:
        file, _, test = _path(name).partition("::")
        assert f"def {test}(" in (PROJECT / file).read_text(), name
