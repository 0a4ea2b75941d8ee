"""poll, select and epoll see what the driver says, when it says it."""

import errno
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from devices import Bare
from pace import patience

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
    Inode,
    WaitQueueHead,
    poll_wait,
    wake_up,
)

Client = Callable[..., str]
Start = Callable[..., ClientProcess]

POLL = """
import select
ALL = select.POLLIN | select.POLLOUT | select.POLLPRI | select.POLLRDHUP
def show(fd, timeout=0):
    poll = select.poll(); poll.register(fd, ALL)
    return dict(poll.poll(timeout)).get(fd, 0) & (ALL | select.POLLHUP | select.POLLERR)
"""


class Masked(Bare):
    """Ready for what `mask` says; an ioctl sets it, and `become` does from elsewhere."""

    def probe(self, mask: int = 0) -> None:
        self.mask = mask
        self.asked = 0
        self.queue = WaitQueueHead()
        self.gone = threading.Semaphore(0)

    def poll(self, file: File) -> int:
        self.asked += 1
        poll_wait(file, self.queue)
        return self.mask

    def ioctl(self, file: File, cmd: int, arg: int) -> int:
        if cmd != 1:
            raise OSError(errno.ENOTTY, "it is no terminal")
        self.mask = arg
        return 0

    def release(self, inode: Inode, file: File) -> None:
        self.gone.release()

    def become(self, mask: int) -> None:
        self.mask = mask
        wake_up(self.queue)


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


EDGE = """
e = select.epoll(); e.register(fd, {events})
print(len(e.poll(0)), len(e.poll(0)), flush=True)
for line in sys.stdin:
    print(e.poll(10)[0][1], e.poll(0), flush=True)
"""


@pytest.mark.parametrize("mask", [EPOLLIN, EPOLLOUT, EPOLLIN | EPOLLOUT])
def test_an_edge_at_each_wake_up(mapdev: EmbeddedHost, start: Start, mask: int) -> None:
    driver = mapdev.add(Masked, "/dev/x", mask=mask)
    process = start(
        POLL
        + "fd = os.open('/dev/x', os.O_RDWR)\n"
        + EDGE.format(events=f"{mask} | select.EPOLLET")
    )
    assert process.stdout.readline() == "1 0\n"
    for _ in range(100):  # more than the bytes that are left unread
        driver.become(mask)
        mapdev.settle()
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{mask} []\n"


def test_an_edge_for_what_stays_while_something_else_changes(
    mapdev: EmbeddedHost, start: Start
) -> None:
    driver = mapdev.add(Masked, "/dev/x", mask=EPOLLIN)
    process = start(
        POLL
        + "fd = os.open('/dev/x', os.O_RDWR)\n"
        + EDGE.format(events="select.EPOLLIN | select.EPOLLET")
    )
    assert process.stdout.readline() == "1 0\n"
    driver.become(EPOLLIN | EPOLLOUT)
    mapdev.settle()
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "1 []\n"


def test_edges_on_a_redirected_device(mapdev: EmbeddedHost) -> None:
    """The filter does not show epoll_ctl on a low number."""
    driver = mapdev.add(Masked, "/dev/x", mask=EPOLLIN)
    code = (
        "import fcntl, select; fcntl.ioctl(0, 1, 1)\n"
        "e = select.epoll(); e.register(0, select.EPOLLIN | select.EPOLLET)\n"
        "print(e.poll(), e.poll(0), flush=True); print(e.poll(), flush=True)"
    )
    command = ["sh", "-c", 'exec "$0" -S -c "$1" </dev/x', sys.executable, code]
    process = mapdev.popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "[(0, 1)] []\n"
    driver.become(EPOLLIN)
    assert process.communicate(timeout=patience(30))[0] == "[(0, 1)]\n"


def test_oneshot(mapdev: EmbeddedHost, client: Client) -> None:
    mapdev.add(Masked, "/dev/x", mask=EPOLLIN)
    client(
        """
        import select
        fd = os.open('/dev/x', os.O_RDWR)
        e = select.epoll(); flags = select.EPOLLIN | select.EPOLLONESHOT; e.register(fd, flags)
        assert e.poll(0) == [(fd, 1)] and e.poll(0) == []
        e.modify(fd, flags); assert e.poll(0) == [(fd, 1)]
        fcntl.ioctl(fd, 1, 0); e.modify(fd, flags); assert e.poll(0) == []
        fcntl.ioctl(fd, 1, 1); assert e.poll(0) == [(fd, 1)]
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
