"""A wake-up belongs to the queue, whichever driver's code made the queue, waits in it or wakes it."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

import pytest
from devices import Bare
from pace import patience

from mapdev.driver import Driver
from mapdev.host.core.host import Host
from mapdev.host.process import Process
from mapdev.linux import (
    EPOLLIN,
    File,
    WaitQueueHead,
    anon_inode_getfd,
    kthread_run,
    poll_wait,
    wait_event_interruptible,
    wake_up,
)

Start = Callable[..., Process]


class Mailbox:
    """Lines that are there for whoever looks; shared by several drivers."""

    def __init__(self, queue: WaitQueueHead) -> None:
        self.queue = queue
        self.lines: list[bytes] = []

    def put(self, line: bytes) -> None:
        self.lines.append(line)
        wake_up(self.queue)


class Reader(Driver):
    """Reads and polls a mailbox. `looked` is released whenever it is looked at."""

    def __init__(self) -> None:
        self.looked = threading.Semaphore(0)

    def probe(self, box: Mailbox) -> None:
        self.box = box

    def read(self, file: File, count: int, pos: int) -> bytes:
        self.looked.release()
        wait_event_interruptible(self.box.queue, lambda: self.box.lines)
        return self.box.lines.pop(0)

    def poll(self, file: File) -> int:
        poll_wait(file, self.box.queue)
        self.looked.release()
        return EPOLLIN if self.box.lines else 0


class Source(Bare):
    """Owns a queue, and puts what is written into the mailbox; an ioctl gives a reader's file."""

    def probe(self) -> None:
        self.box = Mailbox(WaitQueueHead())
        self.reader = Reader()
        self.reader.box = self.box

    def write(self, file: File, data: bytes, pos: int) -> int:
        self.box.put(data)
        return len(data)

    def ioctl(self, file: File, cmd: int, arg: int) -> int:
        return anon_inode_getfd("reader", self.reader, None, os.O_RDWR)


LIMIT = 8  # seconds that a wake-up may take; it takes milliseconds

# Each waits for a line in a way of its own, without a limit: poll asks once more when time is up.
WAYS = {
    "read": "line = os.read(fd, 100)",
    "poll": "p = select.poll(); p.register(fd, 1); p.poll(); line = os.read(fd, 9)",
    "epoll": "e = select.epoll(); e.register(fd, 1); e.poll(); line = os.read(fd, 9)",
}


def await_line(start: Start, way: str, open_file: str, looked: threading.Semaphore) -> Process:
    """Start a client that waits for a line; return when it has looked and found none."""
    process = start(
        f"import select; {open_file}; print(flush=True)\n"
        f"{WAYS[way]}; print(line.decode(), flush=True)"
    )
    assert process.stdout.readline() == "\n"
    assert looked.acquire(timeout=patience(30)), "it does not look"
    return process


def line(process: Process) -> str:
    """Return the line that the client prints when it has been woken."""
    readable, _, _ = select.select([process.stdout], [], [], LIMIT)
    assert readable, "it is not woken"
    return str(process.stdout.readline().rstrip("\n"))


@pytest.mark.parametrize(
    ("way", "waker"),
    [
        ("read", "write"),
        ("read", "kthread"),
        ("poll", "write"),
        ("epoll", "write"),
        ("poll", "kthread"),
    ],
)
def test_a_file_with_a_driver_of_its_own(
    mapdev: Host, start: Start, client: Callable[..., str], way: str, waker: str
) -> None:
    source = mapdev.add(Source, "/dev/x")
    opening = "fd = fcntl.ioctl(os.open('/dev/x', os.O_RDWR), 0x7801)"
    process = await_line(start, way, opening, source.reader.looked)
    mapdev.settle()
    if waker == "write":
        client("os.write(os.open('/dev/x', os.O_WRONLY), b'line')")
    else:
        mapdev.run_for(source, kthread_run, lambda _: source.box.put(b"line"), None, "waker")
    assert line(process) == "line"


@pytest.mark.parametrize("way", ["read", "poll"])
def test_a_pair_of_devices(
    mapdev: Host, start: Start, client: Callable[..., str], way: str
) -> None:
    source = mapdev.add(Source, "/dev/x")
    reader = mapdev.add(Reader, "/dev/y", box=source.box)
    process = await_line(start, way, "fd = os.open('/dev/y', os.O_RDWR)", reader.looked)
    client("os.write(os.open('/dev/x', os.O_WRONLY), b'line')")
    assert line(process) == "line"


@pytest.mark.parametrize("way", ["read", "epoll"])
def test_a_queue_of_the_module(mapdev: Host, start: Start, way: str) -> None:
    """Two drivers share one that none of them made; the other one has used it first."""
    box = Mailbox(WaitQueueHead())
    first = mapdev.add(Reader, "/dev/x", box=box)
    second = mapdev.add(Reader, "/dev/y", box=box)
    one = await_line(start, "read", "fd = os.open('/dev/x', os.O_RDWR)", first.looked)
    two = await_line(start, way, "fd = os.open('/dev/y', os.O_RDWR)", second.looked)
    mapdev.settle()
    one.kill()
    one.wait()
    mapdev.settle()
    box.put(b"line")
    assert line(two) == "line"


@pytest.mark.parametrize("way", ["read", "poll"])
def test_a_queue_that_outlives_a_host(
    new_host: Callable[..., Host], mapdev: Host, start: Start, way: str
) -> None:
    box = Mailbox(WaitQueueHead())
    with new_host() as before:
        before.run_for(before.add(Reader, "/dev/before", box=box), wake_up, box.queue)
    reader = mapdev.add(Reader, "/dev/x", box=box)
    process = await_line(start, way, "fd = os.open('/dev/x', os.O_RDWR)", reader.looked)
    mapdev.settle()
    box.put(b"line")
    assert line(process) == "line"
