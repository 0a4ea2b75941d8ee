"""A host that is out of descriptors says so; no program waits for it for ever."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pace import patience

import mapdev

FEW = 56  # descriptors: enough for the host itself


@pytest.fixture
def small() -> Iterator[int]:
    """Few descriptors beside those that pytest has by now, and no way to have more; the limit."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = len(os.listdir("/proc/self/fd")) + FEW
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    yield limit
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _use_up(leave: int) -> list[int]:
    fds = []
    try:
        while True:
            fds.append(os.dup(0))
    except OSError:
        for _ in range(leave):
            os.close(fds.pop())
    return fds


def test_popen_raises_emfile_however_many_are_left(small: int) -> None:
    """One more each time, so that each step of a start is the one that fails once."""
    with mapdev.host("16M") as host:
        host.add("contiguous", "/dev/x")
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (small, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        )
        codes = []
        for leave in range(30):
            taken = _use_up(leave)
            try:
                done = host.popen(["true"])
            except OSError as error:
                codes.append(error.errno)
            else:
                assert done.wait(patience(30)) == 0
                break
            finally:
                for fd in taken:
                    os.close(fd)
        assert codes and set(codes) == {errno.EMFILE}
        host.settle()
        assert not host.has_clients
        assert host.run(["true"]).returncode == 0  # it goes on
    assert host.leaks == []


def test_a_host_that_does_not_get_the_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener's own descriptor is the one that is missing: the message comes truncated."""
    from mapdev.host.embedded import server

    receive = server.receive_listener

    def truncated(channel: object) -> int | None:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        try:
            return receive(channel)  # type: ignore[arg-type]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)

    with mapdev.host("16M") as host:
        with monkeypatch.context() as patch:
            patch.setattr(server, "receive_listener", truncated)
            with pytest.raises(OSError, match="no descriptor is left") as caught:
                host.popen(["sleep", "100"])
        assert caught.value.errno == errno.EMFILE
        assert not host.has_clients
        assert host.run(["true"]).returncode == 0
    assert host.leaks == []


def test_many_descriptors_in_the_host() -> None:
    """The channel has a number that the filter hands over, and so does what the child inherits."""
    with mapdev.host("16M") as host:
        taken = [os.dup(0) for _ in range(1100)]
        try:
            done = host.run(["cat"], input=b"read", capture_output=True, timeout=patience(30))
            assert done.stdout == b"read"
            done = host.run(
                ["sh", "-c", "cat <&-"], capture_output=True, text=True, timeout=patience(30)
            )
            assert done.stderr.startswith("cat: -: Bad file descriptor")
        finally:
            for fd in taken:
                os.close(fd)


def test_a_mapping_on_demand_without_descriptors(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mapdev.host.embedded.faults import userfault

    def none_left(pid: int, flags: int = 0) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    code = (
        "import errno, mmap, os\n"
        "try: mmap.mmap(os.open('/dev/x', os.O_RDWR), 4096)\n"
        "except OSError as error: print(errno.errorcode[error.errno])\n"
    )
    with mapdev.host("16M") as host:
        host.add("lazy", "/dev/x")
        with monkeypatch.context() as patch:
            patch.setattr(userfault, "pidfd_getfd", none_left)
            done = host.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
        assert done.stdout == "EMFILE\n", done.stderr
    assert [
        text for text in caplog.messages if "/dev/x can't be mapped" in text and "ulimit" in text
    ]
    assert host.leaks == []


def test_limits_of_host_and_clients() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with mapdev.host("16M") as one, mapdev.host("16M") as other:
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        for host in (one, other):
            done = host.run(["sh", "-c", "ulimit -Sn; ulimit -Hn"], capture_output=True, text=True)
            assert done.stdout.split() == [
                "unlimited" if limit == resource.RLIM_INFINITY else str(limit)
                for limit in (soft, hard)
            ]
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)


# The host is killed while its child holds the listener and nobody has taken that yet.
KILLED = """
import os, signal, sys
import mapdev
from mapdev.host.embedded import server
def killed(channel):
    children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
    print(*children, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
server.receive_listener = killed
mapdev.host("16M").popen(["sleep", "1000"])
"""


def test_a_host_that_is_killed_while_a_client_starts() -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True,
                          timeout=patience(60))  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    (child,) = done.stdout.split()
    deadline = time.monotonic() + patience(30)
    while _lives(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _lives(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_host_that_can_not_begin_leaves_the_limit_alone() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with pytest.raises(ValueError, match="no size"):
        mapdev.host("much")
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
