"""What all tests share: programs and clients that a test needs, or the reason for a skip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

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


# --- a test that hangs: pytest-timeout prints the stacks of our threads and ends pytest ----------

BEFORE = 2.0  # seconds before that, the programs that the test has started are shown
_timers = pytest.StashKey[threading.Timer]()


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Know the options of pytest-timeout where it is not installed: in virtual machines."""
    if not pluginmanager.hasplugin("timeout"):
        parser.addini("timeout", "seconds; of no effect here")
        parser.addini("timeout_method", "of no effect here")


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    """Have the processes shown before the time is over; pytest-timeout goes on with its own."""
    timer = threading.Timer(max(0.0, settings.timeout - BEFORE), show_descendants)
    timer.daemon = True
    item.stash[_timers] = timer
    timer.start()


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> None:
    timer = item.stash.get(_timers, None)
    if timer is not None:
        timer.cancel()


def show_descendants() -> None:
    """Print what each process below this one does, with the kernel's stack where we may see it."""
    parents = {int(pid): _field(pid, "PPid") for pid in os.listdir("/proc") if pid.isdigit()}
    print("\nprocesses of a test that is about to be ended:", file=sys.__stderr__)
    for pid in parents:
        ancestor = parents[pid]
        while ancestor not in ("0", "", str(os.getpid())):
            ancestor = parents.get(int(ancestor), "")
        if ancestor == str(os.getpid()):
            words = [_proc(pid, "cmdline").replace("\0", " ")[:200], _field(pid, "State")]
            words += [_proc(pid, name) for name in ("wchan", "syscall", "stack")]
            print(f"{pid} (child of {parents[pid]}):", *words, file=sys.__stderr__)


def _proc(pid: int | str, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace").strip()
    except OSError:
        return ""


def _field(pid: int | str, name: str) -> str:
    lines = (line.partition(":") for line in _proc(pid, "status").splitlines())
    return next((value.strip() for key, _, value in lines if key == name), "")
