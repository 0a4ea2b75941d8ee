"""Where there is no FUSE, what poll shows is made of sockets: what they can't show, and how the
host gets at them."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pace import patience
from polled import POLL, Masked

from mapdev import host
from mapdev.host.embedded.files import device_files, open_file
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.linux import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP

Client = Callable[..., str]


@pytest.fixture
def mapdev(no_fuse: None) -> Iterator[EmbeddedHost]:
    with host() as made:
        assert isinstance(made, EmbeddedHost)
        yield made


@pytest.fixture
def no_fuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in most containers."""

    def refuse() -> tuple[int, int]:
        raise FileNotFoundError(2, "No such file or directory", "/dev/fuse")

    monkeypatch.setattr(device_files, "mount", refuse)


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


def test_nothing_is_done_when_nothing_changes(
    mapdev: EmbeddedHost, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapdev.add(Masked, "/dev/x", mask=EPOLLIN)
    monkeypatch.setattr(
        open_file, "fetch_descriptor", lambda *_: pytest.fail("a descriptor was fetched")
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

    monkeypatch.setattr(open_file, "fetch_descriptor", refuse)
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


def test_one_shot_without_a_wake_up(mapdev: EmbeddedHost, client: Client) -> None:
    """What an operation changes is seen, though a kernel would not look before a wake-up."""
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
