"""poll, select and epoll see what the driver says, when it says it."""

from collections.abc import Callable

import pytest
from pace import patience
from polled import POLL, Masked

from mapdev.host.core.host import Host
from mapdev.host.process import Process
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
Start = Callable[..., Process]


@pytest.mark.parametrize("first", [0, EPOLLIN, EPOLLOUT, EPOLLIN | EPOLLOUT])
def test_what_comes_goes_again(mapdev: Host, client: Client, first: int) -> None:
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


@pytest.mark.parametrize("mask", [EPOLLPRI, EPOLLHUP, EPOLLERR, EPOLLRDHUP, EPOLLHUP | EPOLLOUT])
def test_what_is_shown_is_the_driver_s_mask(mapdev: Host, client: Client, mask: int) -> None:
    mapdev.add(Masked, "/dev/x")
    client(
        POLL
        + f"""
fd = os.open('/dev/x', os.O_RDWR)
for mask in {mask}, 0, {mask} | select.POLLIN, 0:
    fcntl.ioctl(fd, 1, mask)
    assert show(fd) == mask, (show(fd), mask)
"""
    )


WAITERS = {
    "poll": "show(fd, None)",
    "select": "1 if select.select([fd], [], [])[0] else 0",
    "epoll": "(lambda e: (e.register(fd, select.EPOLLIN), e.poll())[1][0][1])(select.epoll())",
    "edge": "(lambda e: (e.register(fd, select.EPOLLIN | select.EPOLLET), e.poll())[1][0][1])(select.epoll())",
}


@pytest.mark.parametrize("waiter", WAITERS)
def test_a_wake_up_ends_the_wait(mapdev: Host, start: Start, waiter: str) -> None:
    driver = mapdev.add(Masked, "/dev/x")
    process = start(
        POLL + "fd = os.open('/dev/x', os.O_RDWR); print('open', flush=True)\n"
        f"print({WAITERS[waiter]}, show(fd))"
    )
    assert process.stdout.readline() == "open\n"
    driver.become(EPOLLIN)
    assert process.communicate(timeout=patience(30))[0] == "1 1\n"


def test_another_files_operation_is_seen(mapdev: Host, client: Client) -> None:
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


def test_release_comes_while_poll_changes(mapdev: Host, start: Start) -> None:
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


def test_a_file_that_changes_hands(mapdev: Host, start: Start) -> None:
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


def test_poll_wait_says_which_queue_matters(mapdev: Host, start: Start) -> None:
    class Two(Masked):
        def probe(self, mask: int = 0) -> None:
            super().probe(mask)
            self.other = WaitQueueHead()

    driver = mapdev.add(Two, "/dev/x")
    process = start(
        POLL + "fd = os.open('/dev/x', os.O_RDWR); print('open', flush=True); print(show(fd, None))"
    )
    process.stdout.readline()
    driver.await_polls()
    asked = driver.asked
    wake_up(driver.other)
    for _ in range(3):
        mapdev.settle()
    assert driver.asked == asked
    wake_up(driver.queue)
    driver.await_polls(asked + 1)
    driver.become(EPOLLIN)
    assert process.communicate(timeout=patience(30))[0] == "1\n"


def test_a_poll_that_fails_counts_as_ready(
    mapdev: Host, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Masked):
        def poll(self, file: File) -> int:
            raise ZeroDivisionError("bug")

    mapdev.add(Broken, "/dev/x")
    client(POLL + "fd = os.open('/dev/x', 2); fcntl.ioctl(fd, 1, 1); assert show(fd) == 5")
    assert caplog.text.count("poll failed") == 1
