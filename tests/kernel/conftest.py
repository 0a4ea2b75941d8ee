"""What the tests of the module need: to run as root on a kernel in which it is loaded.

After each test the module must have given back all that it had, and the kernel must not have
complained.
"""

from __future__ import annotations

import contextlib
import gc
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
_COMPLAINT = re.compile(
    r"WARNING:|BUG|Oops|general protection|Call Trace|still in use|stall|mapdev:"
)


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


class _Log:
    """What the kernel says from now on."""

    def __init__(self) -> None:
        self._file = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._file, 0, os.SEEK_END)

    def read(self) -> str:
        lines = []
        with contextlib.suppress(BlockingIOError):
            while True:
                with contextlib.suppress(BrokenPipeError):  # some were overwritten before we came
                    lines.append(os.read(self._file, 8192).decode(errors="replace"))
        os.close(self._file)
        return "".join(lines)


@pytest.fixture(scope="session", autouse=True)
def debugfs() -> None:
    if not _missing() and not daemons.COUNTERS.exists():
        subprocess.run(["mount", "-t", "debugfs", "debugfs", "/sys/kernel/debug"], check=True)


@pytest.fixture(autouse=True)
def nothing_left(debugfs: None) -> Iterator[None]:
    """Fail a test after which the module has anything, or the kernel has complained."""
    log = _Log()
    yield
    Client.kill_all()
    gc.collect()  # drivers may have views of memory, which stays mapped as long
    end = time.monotonic() + 5
    while any(daemons.counters().values()) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(daemons.counters().values()), daemons.counters()
    news = log.read()
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
