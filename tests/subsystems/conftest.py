"""What the tests of frameworks share: a host, and clients in Python that use its devices."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, CompletedProcess
from typing import Any

import pytest
from pace import patience

import mapdev
from mapdev.host.core.host import Host

HERE = Path(__file__).parent
TIMEOUT = patience(60)  # seconds: a client that hangs must fail
Client = Callable[..., CompletedProcess[str]]


@pytest.fixture
def host() -> Iterator[Host]:
    """Return an embedded host."""
    with mapdev.host() as made:
        yield made


@pytest.fixture
def video_client(host: Host) -> Client:
    """Run Python code as a client, with what `v4l2_client` has; it must end well."""

    def run(code: str, check: bool = True) -> CompletedProcess[str]:
        code = f"from v4l2_client import *\n{textwrap.dedent(code)}"
        done = host.run(
            [sys.executable, "-c", code], stdout=PIPE, stderr=PIPE, text=True, timeout=TIMEOUT,
            env={**os.environ, "PYTHONPATH": str(HERE)},
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def start_client(host: Host) -> Iterator[Callable[[str], Any]]:
    """Start Python code as a client, which can be told to go on by a line."""
    started = []

    def start(code: str) -> Any:
        process = host.popen(
            [sys.executable, "-c", f"from v4l2_client import *\n{textwrap.dedent(code)}"],
            stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(HERE)},
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait(patience(30))
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
