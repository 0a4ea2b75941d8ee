"""Readiness: what wakes poll, select and epoll, whom it wakes, and what they are told.

Source: include/linux/wait.h, wake_up_poll; fs/eventpoll.c, ep_poll_callback
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Callable

import pytest

from mapdev.host.kernel import uapi

from .daemon import Client, Daemon, Handler, answer, opened

EVERY_BIT = 0xFFFFFFFF  # of which POLLFREE, 0x4000, takes an epoll off the wait queue


def _until(condition: Callable[[], object], daemon: Daemon, handlers: dict[int, Handler]) -> None:
    """Serve a daemon's requests until a condition holds."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it does not come about"
        request, _ = daemon.next()
        if request.op < uapi.RELEASE and request.op != uapi.NONE:
            outcome = handlers.get(request.op, lambda _: 0)(request)
            assert isinstance(outcome, int)
            daemon.reply(request, outcome)


def _epoll(events: int, times: int = 1) -> Callable[[], list[int]]:
    """Make a client that waits for a file in an edge-triggered epoll."""

    def client() -> list[int]:
        with opened() as fd, select.epoll() as poller:
            poller.register(fd, events | select.EPOLLET)
            return [poller.poll(20)[0][1] for _ in range(times)]

    return client


def test_a_wake_with_every_bit_set_leaves_epoll_on_the_file(daemon: Daemon) -> None:
    """Bits that are no events are ignored: the second wake-up comes, too."""
    device = daemon.create()
    ready = [0]
    handlers = {uapi.POLL: lambda _: ready[0]}
    client = Client(_epoll(select.EPOLLIN, 2))
    for turn in 1, 2:
        ready[0] = 0
        _until(lambda turn=turn: daemon.count[uapi.POLL] >= 2 * turn - 1, daemon, handlers)  # type: ignore[misc]
        client.asleep()
        ready[0] = select.EPOLLIN
        daemon.wake(EVERY_BIT, device=device.id)
        _until(lambda turn=turn: daemon.count[uapi.POLL] >= 2 * turn, daemon, handlers)  # type: ignore[misc]
        if turn == 1:
            daemon.count[uapi.POLL] += 1  # as if it had been asked: an edge is not polled for again
    daemon.serve(handlers, client)
    assert client.result() == [select.EPOLLIN] * 2


def test_what_poll_says_has_no_other_bits(daemon: Daemon) -> None:
    daemon.create()

    def client() -> int:
        with opened() as fd:
            poller = select.poll()
            poller.register(fd, 0x7FFF)
            return poller.poll(0)[0][1]

    assert daemon.run({uapi.POLL: lambda _: 0xFFFF}, client) == 0x27FF


def test_a_wake_up_is_for_who_waits_for_it(daemon: Daemon) -> None:
    """A mask without the event that epoll waits for wakes nobody; an empty one wakes all."""
    device = daemon.create()
    client = Client(_epoll(select.EPOLLOUT))
    handlers = {uapi.POLL: lambda _: select.EPOLLOUT if daemon.count[uapi.POLL] > 1 else 0}
    _until(lambda: daemon.count[uapi.POLL], daemon, handlers)
    client.asleep()
    daemon.wake(select.EPOLLIN, device=device.id)
    for _ in range(10):
        assert daemon.next()[0].op == uapi.NONE, "it was woken for nothing"
    daemon.wake(0, device=device.id)
    daemon.serve(handlers, client)
    assert client.result() == [select.EPOLLOUT]


def test_one_of_those_that_wait_exclusively_is_woken(daemon: Daemon) -> None:
    """EPOLLEXCLUSIVE: of two that wait on a file, a wake-up wakes one; the next wakes the other."""
    daemon.create()
    read, write = os.pipe()
    counter = [0]

    def poll(_: uapi.Request) -> int:
        counter[0] += 1
        return select.EPOLLIN if counter[0] > 2 else 0

    def client() -> None:
        with opened() as fd:
            for _ in range(2):
                if not os.fork():
                    with select.epoll() as poller:
                        poller.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)
                        os.write(write, b"waits")
                        assert poller.poll(20)
                        os.write(write, b"awake")
                    os._exit(0)
            for _ in range(2):
                assert os.wait()[1] == 0

    process = Client(client)
    _until(lambda: counter[0] == 2, daemon, {uapi.POLL: poll})
    assert os.read(read, 5) + os.read(read, 5) == b"waits" * 2
    time.sleep(0.2)  # until they wait indeed
    file = next(one.file for one in daemon.seen if one.op == uapi.POLL)
    daemon.wake(select.EPOLLIN, file=file)
    _until(lambda: counter[0] == 3, daemon, {uapi.POLL: poll})
    assert os.read(read, 5) == b"awake"
    for _ in range(10):
        assert daemon.next()[0].op == uapi.NONE, "both were woken"
    daemon.wake(select.EPOLLIN, file=file)
    daemon.serve({uapi.POLL: poll}, process)
    assert os.read(read, 5) == b"awake"
    assert process.status == 0


# ---- readiness that the module keeps


def _polled(fd: int) -> int:
    """Return what poll says at once."""
    poller = select.poll()
    poller.register(fd, 0x3FF)
    found = poller.poll(0)
    return found[0][1] if found else 0


def test_the_feature() -> None:
    with Daemon(features=uapi.FEATURE_SHOW) as daemon:
        assert daemon.init.features == uapi.FEATURE_SHOW
    with Daemon() as daemon:
        assert not daemon.init.features


def test_replies_show_what_poll_says(daemon: Daemon) -> None:
    """From OPEN on nobody is asked; what a call's reply shows holds when the call returns."""
    daemon.create()

    def shows(mask: int) -> Handler:
        return lambda request: answer(request, 0, flags=uapi.REPLY_SHOW, mask=mask)

    def client() -> list[int]:
        with opened() as fd:
            seen = [_polled(fd)]
            os.read(fd, 1)
            seen.append(_polled(fd))
            os.fsync(fd)
            return [*seen, _polled(fd)]

    handlers = {
        uapi.OPEN: shows(select.POLLOUT), uapi.READ: shows(0),
        uapi.FSYNC: shows(0xFFFFC000 | select.POLLIN),
    }  # fmt: skip
    assert daemon.run(handlers, client) == [select.POLLOUT, 0, select.POLLIN]
    assert uapi.POLL not in daemon.ops()


def test_what_is_shown_and_woken_reaches_who_waits(daemon: Daemon) -> None:
    """Level- and edge-triggered; each SHOW_WAKE is one event, though the mask stays the same."""
    daemon.create()
    read, write = os.pipe()

    def client() -> list[int]:
        with opened() as fd, select.epoll() as edges:
            edges.register(fd, select.EPOLLIN | select.EPOLLET)
            seen = []
            for _ in range(3):
                os.write(write, b"x")
                seen.append(edges.poll(20)[0][1])
            assert not edges.poll(0), "there are no more events than wake-ups"
            return [*seen, _polled(fd)]

    process = Client(client)
    opening = daemon.get(uapi.OPEN)
    daemon.reply(opening, flags=uapi.REPLY_SHOW, mask=0)
    for _ in range(3):
        os.read(read, 1)
        daemon.show(opening.file, select.POLLIN, select.POLLIN)
    daemon.serve({}, process)
    assert process.result() == [select.POLLIN] * 4
    assert uapi.POLL not in daemon.ops()


def test_a_file_is_asked_for_again(daemon: Daemon) -> None:
    """Where the daemon no longer keeps its readiness."""
    daemon.create()

    def read(request: uapi.Request) -> int:
        daemon.show(request.file, 0, keep=False)
        return 0

    def client() -> list[int]:
        with opened() as fd:
            seen = [_polled(fd)]
            os.read(fd, 1)
            return [*seen, _polled(fd)]

    handlers: dict[int, Handler] = {
        uapi.OPEN: lambda r: answer(r, 0, flags=uapi.REPLY_SHOW, mask=select.POLLIN),
        uapi.READ: read, uapi.POLL: lambda _: select.POLLOUT,
    }  # fmt: skip
    assert daemon.run(handlers, client) == [select.POLLIN, select.POLLOUT]
    assert daemon.ops().count(uapi.POLL) == 1


def test_a_device_that_is_gone_says_so_whatever_was_shown(daemon: Daemon) -> None:
    device = daemon.create()

    def client() -> int:
        with opened() as fd:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            return poller.poll(20000)[0][1]

    process = Client(client)
    opening = daemon.get(uapi.OPEN)
    daemon.reply(opening, flags=uapi.REPLY_SHOW, mask=0)
    process.asleep()
    daemon.destroy(device.id)
    assert process.result() == select.POLLERR | select.POLLHUP
    daemon.get(uapi.RELEASE)


def test_what_can_not_be_shown(daemon: Daemon) -> None:
    for fields, code in (
        ({"file": 12345678}, errno.ENOENT), ({"flags": 4}, errno.EINVAL),
        ({"reserved": 1}, errno.EINVAL),
    ):  # fmt: skip
        with pytest.raises(OSError) as caught:
            uapi.ioctl(daemon.fd, uapi.IOC_SHOW, uapi.Show(**fields))
        assert caught.value.errno == code
