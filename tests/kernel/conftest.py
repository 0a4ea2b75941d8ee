"""What the tests of the module need: to run as root on a kernel in which it is loaded.

After each test the module must have given back all that it had, and the kernel must not have
complained.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import daemon as daemons
from .daemon import Client, Daemon

_HOW = "run them in a machine with the module: mapdev vm --kernel 6.12 -- pytest tests/kernel"
_COMPLAINT = re.compile(r"WARNING:|BUG|Oops|general protection|Call Trace|leak|still in use|stall")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    reason = _missing()
    for item in items:
        if reason and here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=f"{reason}; {_HOW}"))


def _missing() -> str:
    if not Path("/sys/module/mapdev").exists():
        return "the kernel module is not loaded"
    if os.geteuid():
        return "tests of the module run as root"
    return ""


def _log() -> str:
    return subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="session", autouse=True)
def debugfs() -> None:
    if not _missing() and not daemons.COUNTERS.exists():
        subprocess.run(["mount", "-t", "debugfs", "debugfs", "/sys/kernel/debug"], check=True)


@pytest.fixture(autouse=True)
def nothing_left(debugfs: None) -> Iterator[None]:
    """Fail a test after which the module has anything, or the kernel has complained."""
    before = _log()
    yield
    Client.kill_all()
    end = time.monotonic() + 5
    while any(daemons.counters().values()) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(daemons.counters().values()), daemons.counters()
    news = _log()[len(before) :]
    assert not _COMPLAINT.search(news), news


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon() as it:
        yield it
        Client.kill_all()


@pytest.fixture
def times() -> int:
    """How much more than usual is asked for: MAPDEV_KERNEL_TESTS=N."""
    return int(os.environ.get("MAPDEV_KERNEL_TESTS", "1"))
