"""poll, select and epoll see what the driver says, when it says it."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from pace import patience
from polled import POLL, Masked

from mapdev.host.embedded import files
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.host.embedded.launch import ClientProcess
from mapdev.linux import (
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    EPOLLPRI,
    EPOLLRDHUP,
    File,
    WaitQueueHead,
    wake_up,
)

Client = Callable[..., str]
Start = Callable[..., ClientProcess]


@pytest.mark.parametrize("first", [0, EPOLLIN, EPOLLOUT, EPOLLIN | EPOLLOUT])
def test_what_comes_goes_again(mapdev: EmbeddedHost, client: Client, first: int) -> None:
    mapdev.add(Masked, "/dev/x", mask=first)
    client(
        POLL
        + f"""
fd = os.open('/dev/x', os.O_RDWR)
assert show(fd) == {first}, show(fd)
for mask in [0, 1, 4, 5, 0, 4, 1, 0, 5, 4, 3, 1, 7, 0, 3, 4] * 3:
    fcntl.ioctl(fd, 1, mask)
    assert show(fd) == mask, (show(fd), mask)
    r, w, x = select.select([fd], [fd], [fd], 0)
    assert (r, w, x) == ([fd] * bool(mask & 1), [fd] * bool(mask & 4), [fd] * bool(mask & 2))
"""
    )


def test_priority_implies_readable(mapdev: EmbeddedHost, client: Client) -> None:
    mapdev.add(Masked, "/dev/x", mask=EPOLLPRI)
    client(
        POLL
        + """
fd = os.open('/dev/x', os.O_RDWR)
assert show(fd) == select.POLLIN | select.POLLPRI
fcntl.ioctl(fd, 1, select.POLLIN); assert show(fd) == select.POLLIN
fcntl.ioctl(fd, 1, 0); assert show(fd) == 0
"""
    )


WAITERS = {
    "poll": "show(fd, None)",
    "select": "1 if select.select([fd], [], [])[0] else 0",
    "epoll": "(lambda e: (e.register(fd, select.EPOLLIN), e.poll())[1][0][1])(select.epoll())",
    "edge": "(lambda e: (e.register(fd, select.EPOLLIN | select.EPOLLET), e.poll())[1][0][1])(select.epoll())",
}


@pytest.mark.parametrize("waiter", WAITERS)
def test_a_wake_up_ends_the_wait(mapdev: EmbeddedHost, start: Start, waiter: str) -> None:
    driver = mapdev.add(Masked, "/dev/x")
    process = start(
        POLL + "fd = os.open('/dev/x', os.O_RDWR); print('open', flush=True)\n"
        f"print({WAITERS[waiter]}, show(fd))"
    )
    assert process.stdout.readline() == "open\n"
    driver.become(EPOLLIN)
    assert process.communicate(timeout=patience(30))[0] == "1 1\n"


def test_another_files_operation_is_seen(mapdev: EmbeddedHost, client: Client) -> None:
    """Without any wake-up: the next poll asks the driver, as far as a program can tell."""
    mapdev.add(Masked, "/dev/x")
    client(
        POLL
        + """
a, b = os.open('/dev/x', os.O_RDWR), os.open('/dev/x', os.O_RDWR)
fcntl.ioctl(a, 1, 1); assert show(b) == 1
fcntl.ioctl(b, 1, 0); assert show(a) == 0
"""
    )


@pytest.mark.parametrize(
    ("mask", "shown"),
    [
        (EPOLLHUP, "HUP IN RDHUP"),
        (EPOLLRDHUP, "IN RDHUP"),
        (EPOLLERR, "ERR HUP IN RDHUP"),
        (EPOLLERR | EPOLLHUP | EPOLLIN, "ERR HUP IN RDHUP"),
    ],
)
def test_what_stays(mapdev: EmbeddedHost, client: Client, mask: int, shown: str) -> None:
    """A hang-up or an error is seen, and the last close is noticed all the same."""
    driver = mapdev.add(Masked, "/dev/x", mask=EPOLLOUT)
    client(
        POLL
        + f"""
fd = os.open('/dev/x', os.O_RDWR); twin = os.dup(fd)
assert show(fd) == select.POLLOUT
fcntl.ioctl(fd, 1, {mask})
names = [name for name in ('ERR', 'HUP', 'IN', 'RDHUP') if show(fd) & getattr(select, 'POLL' + name)]
assert names == '{shown}'.split(), names
fcntl.ioctl(fd, 1, 0); assert show(fd) & select.POLLIN  # it stays
os.close(fd)
assert fcntl.ioctl(twin, 1, {mask} | 4) == 0  # the file lives on
"""
    )
    assert driver.gone.acquire(timeout=patience(30))
    assert not driver.gone.acquire(blocking=False)


def test_one_thing_after_another_that_stays(mapdev: EmbeddedHost, client: Client) -> None:
    driver = mapdev.add(Masked, "/dev/x", mask=0)
    client(
        POLL
        + """
fd = os.open('/dev/x', os.O_RDWR)
for mask in select.POLLIN, select.POLLRDHUP, select.POLLHUP, select.POLLERR:
    fcntl.ioctl(fd, 1, mask); assert show(fd) & mask, mask
"""
    )
    assert driver.gone.acquire(timeout=patience(30))


def test_release_comes_though_the_host_borrows(mapdev: EmbeddedHost, start: Start) -> None:
    driver = mapdev.add(Masked, "/dev/x")
    process = start(
        "fd = os.open('/dev/x', os.O_RDWR); print('open', flush=True); sys.stdin.readline()"
    )
    process.stdout.readline()
    for number in range(200):
        driver.become(number % 2)
        if number == 100:
            process.stdin.close()  # it ends some time now
    assert process.wait(patience(30)) == 0
    assert driver.gone.acquire(timeout=patience(30))


def test_a_file_that_changes_hands(mapdev: EmbeddedHost, start: Start) -> None:
    """The process that used it last is gone; the one that has it now is found."""
    driver = mapdev.add(Masked, "/dev/x", mask=EPOLLIN)
    process = start(
        POLL
        + """
fd = os.open('/dev/x', os.O_RDWR); pipe = os.pipe()
if os.fork():
    os._exit(0)
high = os.dup(fd); os.close(fd)
print(show(high), flush=True); sys.stdin.readline(); print(show(high), flush=True); sys.stdin.readline()
"""
    )
    assert process.stdout.readline() == "1\n"
    process.wait()
    driver.become(0)
    mapdev.settle()
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "0\n"
    process.stdin.write("\n")
    process.stdin.flush()
    assert driver.gone.acquire(timeout=patience(30))


def test_poll_wait_says_which_queue_matters(mapdev: EmbeddedHost, start: Start) -> None:
    class Two(Masked):
        def probe(self, mask: int = 0) -> None:
            super().probe(mask)
            self.other = WaitQueueHead()

    driver = mapdev.add(Two, "/dev/x")
    process = start(
        "fd = os.open('/dev/x', os.O_RDWR); print('open', flush=True); sys.stdin.readline()"
    )
    process.stdout.readline()
    mapdev.settle()
    asked = driver.asked
    wake_up(driver.other)
    mapdev.settle()
    assert driver.asked == asked
    wake_up(driver.queue)
    mapdev.settle()
    assert driver.asked == asked + 1


def test_nothing_is_done_when_nothing_changes(
    mapdev: EmbeddedHost, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapdev.add(Masked, "/dev/x", mask=EPOLLIN)
    monkeypatch.setattr(
        files, "fetch_descriptor", lambda *_: pytest.fail("a descriptor was fetched")
    )
    client(
        POLL
        + """
fd = os.open('/dev/x', os.O_RDWR)
for _ in range(10):
    fcntl.ioctl(fd, 1, 1)
assert show(fd) == 1
"""
    )


def test_where_descriptors_are_not_lent(
    mapdev: EmbeddedHost,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As in a container that forbids pidfd_getfd: what was shown stays, and it is said once."""

    def refuse(*_: Any) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(files, "fetch_descriptor", refuse)
    driver = mapdev.add(Masked, "/dev/x", mask=EPOLLOUT)
    client(
        POLL
        + """
fd = os.open('/dev/x', os.O_RDWR)
for mask, shown in (5, 5), (0, 5), (1, 5), (0, 5), (16, 0x2015):
    fcntl.ioctl(fd, 1, mask); assert show(fd) == shown, (mask, show(fd))
"""
    )
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert driver.gone.acquire(timeout=patience(30))


def test_a_poll_that_fails_counts_as_ready(
    mapdev: EmbeddedHost, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Masked):
        def poll(self, file: File) -> int:
            raise ZeroDivisionError("bug")

    mapdev.add(Broken, "/dev/x")
    client(POLL + "fd = os.open('/dev/x', 2); fcntl.ioctl(fd, 1, 1); assert show(fd) == 5")
    assert caplog.text.count("poll failed") == 1
