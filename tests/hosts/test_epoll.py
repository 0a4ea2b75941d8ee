"""epoll by a program in C: level, edge, one shot, exclusive; with an eventfd as what is right.

Each test runs on an eventfd too: a kernel's own file, woken as a driver in C wakes its queue.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pace import patience
from polled import Masked
from watch import await_state

from mapdev.host.core.host import Host
from mapdev.linux import EPOLLET, EPOLLIN, EPOLLONESHOT, File

LIMIT = 5000  # milliseconds that an event may take; it takes less than one
GENERATION = 0x7802  # an ioctl


class Counted(Masked):
    """Says by an ioctl how often it has become something."""

    def probe(self, mask: int = 0) -> None:
        super().probe(mask)
        self.generation = 0

    def ioctl(self, file: File, cmd: int, arg: int) -> int:
        return self.generation if cmd == GENERATION else super().ioctl(file, cmd, arg)

    def become(self, mask: int) -> None:
        self.generation += 1
        super().become(mask)


class Events:
    """The client tests/clients/events.c, and how to make its files readable."""

    def __init__(
        self, process: subprocess.Popen[bytes], host: Host, driver: Counted | None
    ) -> None:
        self.process = process
        self._read = b""
        self._host = host
        self._driver = driver

    def ask(self, line: str) -> str:
        """Have it do something, and return its answer."""
        self.tell(line)
        return self.line()

    def tell(self, line: str) -> None:
        """Have it do something; `line` reads the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def line(self) -> str:
        """Read an answer, which comes within some seconds."""
        assert self.process.stdout is not None
        number = self.process.stdout.fileno()
        while b"\n" not in self._read:
            readable, _, _ = select.select([number], [], [], 2 * LIMIT / 1000)
            assert readable, "no answer"
            data = os.read(number, 4096)
            assert data, "the client has ended"
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()

    def wake(self, mask: int = EPOLLIN) -> None:
        """Make its first file readable, as a write from elsewhere does: by a wake-up."""
        if self._driver is None:
            self.tell("signal 0")  # its answer is none: a thread's may come before
        else:
            self._driver.become(mask)
            self._host.settle()

    def clear(self) -> None:
        """Make its first file unreadable, as a read does: without a wake-up."""
        if self._driver is None:
            assert self.ask("clear 0") == "ok"
        else:
            assert self.ask("read 0") == ""


class Cleared(Counted):
    """A read of it leaves nothing to be read."""

    def read(self, file: File, count: int, pos: int) -> bytes:
        self.mask &= ~EPOLLIN
        return b""


@pytest.fixture
def events(mapdev: Host, static: Callable[[str], str]) -> Iterator[Callable[[str], Events]]:
    """Start the client on a device or an eventfd; it has opened a file."""
    started: list[subprocess.Popen[Any]] = []

    def begin(kind: str) -> Events:
        driver = mapdev.add(Cleared, "/dev/x") if kind == "device" else None
        path = "/dev/x" if driver is not None else "eventfd"
        command = [static("events"), path]
        process = mapdev.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        client = Events(process, mapdev, driver)
        assert client.ask("open") == "0"
        return client

    yield begin
    for process in started:
        process.kill()
        process.communicate(timeout=patience(30))


def on_both(test: Any) -> Any:
    """Run a test on a device, and on the model."""
    return pytest.mark.parametrize("kind", ["eventfd", "device"])(test)


@on_both
def test_level(events: Callable[[str], Events], kind: str) -> None:
    client = events(kind)
    assert client.ask(f"add 0 0 {EPOLLIN}") == "ok"
    for _ in range(5):
        assert client.ask("wait 0 0") == "none"
        client.tell(f"wait 0 {LIMIT}") if kind == "device" else None
        client.wake()
        assert (client.line() if kind == "device" else client.ask(f"wait 0 {LIMIT}")) == "0:1"
        assert client.ask("wait 0 0") == "0:1"
        client.clear()


@on_both
def test_an_edge_for_each_write(events: Callable[[str], Events], kind: str) -> None:
    """The second of two writes gives an event, though nothing was read in between."""
    client = events(kind)
    assert client.ask(f"add 0 0 {EPOLLIN | EPOLLET}") == "ok"
    for _ in range(5):
        client.wake()
        assert client.ask(f"wait 0 {LIMIT}") == "0:1"
        assert client.ask("wait 0 0") == "none"


@on_both
def test_two_writes_before_a_look_are_one_edge(events: Callable[[str], Events], kind: str) -> None:
    client = events(kind)
    assert client.ask(f"add 0 0 {EPOLLIN | EPOLLET}") == "ok"
    client.wake()
    client.wake()
    assert client.ask(f"wait 0 {LIMIT}") == "0:1"
    assert client.ask("wait 0 0") == "none"


@on_both
def test_what_was_read_before_the_look_is_no_event(
    events: Callable[[str], Events], kind: str
) -> None:
    client = events(kind)
    assert client.ask(f"add 0 0 {EPOLLIN | EPOLLET}") == "ok"
    client.wake()
    client.clear()
    assert client.ask("wait 0 0") == "none"


@on_both
@pytest.mark.parametrize("flags", [0, EPOLLET], ids=["level", "edge"])
def test_two_epolls_get_an_event_each(
    events: Callable[[str], Events], kind: str, flags: int
) -> None:
    client = events(kind)
    for epoll in 0, 1:
        assert client.ask(f"add {epoll} 0 {EPOLLIN | flags}") == "ok"
    for _ in range(3):
        client.wake()
        assert [client.ask(f"wait {epoll} {LIMIT}") for epoll in (0, 1)] == ["0:1"] * 2
        assert client.ask("wait 0 0") == client.ask("wait 1 0") == ("none" if flags else "0:1")
        client.clear()
        assert client.ask("wait 0 0") == client.ask("wait 1 0") == "none"


@on_both
@pytest.mark.parametrize("flags", [0, EPOLLET], ids=["level", "edge"])
def test_one_shot(events: Callable[[str], Events], kind: str, flags: int) -> None:
    """Nothing until it is armed again: then what is there, and the next wake-up."""
    client = events(kind)
    once = EPOLLIN | EPOLLONESHOT | flags
    assert client.ask(f"add 0 0 {once}") == "ok"
    for _ in range(3):
        client.wake()
        assert client.ask(f"wait 0 {LIMIT}") == "0:1"
        client.wake()
        assert client.ask("wait 0 0") == "none"
        assert client.ask(f"mod 0 0 {once}") == "ok"
        assert client.ask("wait 0 0") == "0:1"
        client.clear()
        assert client.ask(f"mod 0 0 {once}") == "ok"
        assert client.ask("wait 0 0") == "none"


def begin_exclusive(client: Events) -> None:
    """Have two threads wait, each in an epoll of its own."""
    client.tell("exclusive 0 2")
    waiters = [int(client.line().split()[1]) for _ in range(2)]
    assert client.line() == "ready"
    for tid in waiters:
        await_state(tid, "S")


@on_both
def test_exclusive_wakes_one(events: Callable[[str], Events], kind: str) -> None:
    client = events(kind)
    begin_exclusive(client)
    client.wake()
    assert client.line() == "woken 1"
    time.sleep(0.1)  # in which a second one that was woken would say so
    client.clear()
    client.wake()
    assert client.line() == ("woken 1" if kind == "eventfd" else "woken 2")


@on_both
def test_exclusive_wakes_the_next_though_nothing_was_read(
    events: Callable[[str], Events], kind: str
) -> None:
    client = events(kind)
    begin_exclusive(client)
    for number in 1, 2:
        client.wake()
        assert client.line() == f"woken {number}"
        time.sleep(0.1)


@on_both
def test_a_file_that_is_ready_comes_before_a_pending_signal(
    events: Callable[[str], Events], kind: str
) -> None:
    client = events(kind)
    assert client.ask(f"add 0 0 {EPOLLIN}") == "ok"
    client.wake()
    assert client.ask(f"ppoll 0 {EPOLLIN} {LIMIT}") == "1"
    assert client.ask(f"pending 0 {LIMIT}") == "0:1"
    assert client.ask("wait 0 0") == "0:1"
    client.clear()
    assert client.ask(f"ppoll 0 {EPOLLIN} {LIMIT}") == "EINTR"
    assert client.ask(f"pending 0 {LIMIT}") == "EINTR"
