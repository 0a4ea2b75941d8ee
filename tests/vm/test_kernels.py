"""The kernel host and its module on the kernels that are supported, each in a virtual machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from availability import unavailable
from static_clients import compile_all
from tests.conformance.hosts import build_client
from tests.programs import kselftest

from mapdev.module import source
from mapdev.module.build import build
from mapdev.support.tools import UnavailableError
from mapdev.vm import kernels, machine
from mapdev.vm.kernels import Kernel

PROJECT = Path(__file__).parents[2]
# `make test-kernels` asks for more: the newest, whose module not every machine can build.
KERNELS = os.environ.get("MAPDEV_KERNELS", "").split() or [*kernels.SERIES]
TIMEOUT = 1800  # seconds; without KVM everything takes some ten times as long


def _hosts(*names: str) -> list[str]:
    return [f"tests/hosts/test_{name}.py" for name in names]


def _module(*names: str) -> list[str]:
    return [f"tests/kernel/test_{name}.py" for name in names]


# What runs in each machine: on 6.12 two, of some minutes each on an idle computer; on others one,
# with what depends on the kernel most.
#
# All at once would take a quarter of an hour or more, since a program that starts takes a second
# there. By hand:
#   mapdev vm --kernel 6.12 -- python -m pytest tests/hosts/test_mmap.py --mapdev-host kernel
#   mapdev vm --kernel 6.12 -- python -m pytest tests/kernel
# tests/kernel comes first where both run: its tests want nothing left of others. The storms of
# tests/kernel are for an afternoon; 6.1 is asked the conformance suite by hand.
RUNS = {
    "hosts": [
        *_hosts("areas", "buffers", "epoll", "event_loops", "hotplug", "open_files", "poll",
                "poll_edge", "queues", "sysfs", "wake_order", "watching"),
        "tests/programs/test_stress_ng.py",
    ],
    "module": [
        *_module("aio", "areas", "blocking", "cache_modes", "calls", "camera", "failed_mmap", "faults",
                 "fork", "fuzz", "lifetime", "mmap", "model", "poll", "quota", "v4l2"),
        "tests/conformance/test_conformance.py",
    ],
    "both": [*_module("calls", "faults", "model", "poll"), *_hosts("epoll", "poll", "sysfs")],
}  # fmt: skip
MACHINES = [
    (series, run)
    for series in KERNELS
    for run in (("hosts", "module") if series == kernels.DEFAULT else ("both",))
]
AND_UNLOAD = '"$0" "$@" && "$0" -m mapdev.cli module unload 2>&1'
PARAMETERS = ("raw=0xfed00000+8K,0x100000+4K",)  # registers of the HPET, and memory
BOOT = ("kernelcore=1G",)  # the other half of memory is ZONE_MOVABLE
# What the kernel says when the module made a mistake that it noticed.
COMPLAINTS = re.compile(
    r"^.*\b(?:WARNING|BUG|Oops|INFO: task|refcount_t|general protection).*$", re.M
)


@pytest.mark.timeout(TIMEOUT + 600)  # the machine's own limit comes first
@pytest.mark.parametrize(("series", "run"), MACHINES, ids=map("-".join, MACHINES))
def test_the_kernel_host(
    series: str,
    run: str,
    debian_kernel: Callable[[str], Kernel],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    kernel = debian_kernel(series)
    assert kernel.build
    try:
        module = build(kernel.build, ["KCFLAGS=-Werror"])
        ptes = build(kernel.build, ["KCFLAGS=-Werror"], PROJECT / "tests/kernel/ptes")
    except UnavailableError as error:
        not_built(series, error)
    monkeypatch.chdir(PROJECT)
    build_client(tmp_path).rename(tmp_path / "conformance")  # here, where a compiler is fast
    if missing := compile_all(tmp_path):
        print("without the event loops of others:", *missing)
    monkeypatch.setenv("MAPDEV_CLIENTS", str(tmp_path))
    monkeypatch.setenv("MAPDEV_PTES", str(ptes))
    # hypothesis takes seconds to import there, and is not used.
    options = ["-v", "-rs", "-p", "no:cacheprovider", "-p", "no:hypothesispytest",
               "--basetemp=/var/tmp/pytest", "--mapdev-host", "kernel"]  # fmt: skip
    tests = [*RUNS[run], *(pfnmap() if run != "hosts" else [])]
    if missing and run == "hosts":
        tests.append("--deselect=tests/hosts/test_event_loops.py::test_event_loops_of_others")
    command = ["sh", "-c", AND_UNLOAD, sys.executable, "-m", "pytest", *options, *tests]
    said: list[str] = []
    try:
        outcome = machine.run(
            kernel, command, module=module, parameters=PARAMETERS, disk=True,
            boot=BOOT if run == "module" else (), timeout=TIMEOUT,
            write=lambda _, data: said.append(data.decode(errors="replace")),
        )  # fmt: skip
    except UnavailableError as error:
        unavailable(error)
    except (machine.MachineError, TimeoutError) as error:
        pytest.fail(f"{error}\n{''.join(said)}")
    output = "".join(said)
    print(output, outcome.console)
    assert outcome.status == 0
    assert re.search(r"\b[1-9]\d* passed\b", output), "no test ran"
    assert not re.search(r"\b[1-9]\d* skipped\b", output), "in the machine everything is there"
    assert "the module is unloaded" in output
    assert not COMPLAINTS.findall(outcome.console)


def not_built(series: str, error: UnavailableError) -> NoReturn:
    """Fail; or skip, where the newest kernel's own programs or options are too new for us."""
    text = str(error)
    if series == kernels.NEWEST and ("GLIBC" in text or "unrecognized command-line" in text):
        pytest.skip(f"a module for the newest kernel can't be built on this system: {text[-500:]}")
    pytest.fail(text)


def pfnmap() -> list[str]:
    """Return the test of the kernel's own pfnmap, where that is to be had."""
    try:
        kselftest.program("pfnmap")
    except UnavailableError as error:
        print(f"without pfnmap: {error}")
        return []
    return ["tests/programs/test_pfnmap.py"]


@pytest.mark.parametrize("series", KERNELS)
def test_neither_compiler_nor_sparse_has_anything_to_say_of_the_module(
    series: str,
    debian_kernel: Callable[[str], Kernel],
    require_program: Callable[[str, str], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    require_program("sparse", "sparse")
    kernel = debian_kernel(series)
    assert kernel.build
    monkeypatch.setenv("MAPDEV_CACHE", str(tmp_path))  # so that it is compiled
    try:
        build(kernel.build, ["W=1", "KCFLAGS=-Werror", "C=1", "CF=-Wsparse-error"])
    except UnavailableError as error:
        not_built(series, error)


def test_the_module_s_functions_and_structures_are_documented(
    debian_kernel: Callable[[str], Kernel], require_program: Callable[[str, str], str]
) -> None:
    """The comments of kernel-doc name each parameter and member, and nothing else."""
    perl = require_program("perl", "perl")
    kernel = debian_kernel(kernels.DEFAULT)
    assert kernel.build
    script = kernel.build / "scripts/kernel-doc"
    files = [*source.directory().glob("*.[ch]")]
    done = subprocess.run(
        [perl, script, "-none", "-Werror", *files], capture_output=True, text=True, timeout=60
    )
    assert not done.returncode and not done.stderr, done.stderr
