"""Descriptors that the embedded host watches: what comes with one goes with it."""

import os
import select
import threading
from collections.abc import Iterator

import pytest

from mapdev.host.embedded.watcher import Watcher


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    watcher = Watcher()
    yield watcher
    watcher.close()


@pytest.fixture
def fd() -> Iterator[int]:
    fd = os.eventfd(1, os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


def handle(watcher: Watcher) -> int:
    """Handle what there is, and return how much that is."""
    events = watcher.epoll.poll(0)
    for fd, event in events:
        watcher.handlers[fd](event)
    return len(events)


def test_who_watches_is_called_until_unwatch(watcher: Watcher, fd: int) -> None:
    seen: list[int] = []
    watcher.watch(fd, lambda: seen.append(os.eventfd_read(fd)))
    assert handle(watcher) == 1 and seen == [1]
    assert handle(watcher) == 0
    os.eventfd_write(fd, 2)
    watcher.unwatch(fd)
    assert handle(watcher) == 0 and seen == [1] and fd not in watcher.handlers


def test_events_that_are_asked_for(watcher: Watcher, fd: int) -> None:
    seen: list[int] = []
    watcher.register(fd, select.EPOLLOUT, seen.append)
    assert handle(watcher) == 1 and seen == [select.EPOLLOUT]


def test_events_of_a_descriptor_go_with_it(watcher: Watcher, fd: int) -> None:
    watcher.watch(fd, lambda: None)
    watcher.events = {fd: select.EPOLLIN, 0: select.EPOLLIN}
    watcher.unwatch(fd)  # the next to open something may get this number
    assert watcher.events == {0: select.EPOLLIN}


def test_after_the_end_nothing_need_be_unwatched(fd: int) -> None:
    watcher = Watcher()
    watcher.watch(fd, lambda: None)
    watcher.close()
    watcher.unwatch(fd)


def test_a_kick_is_an_event_in_any_thread(watcher: Watcher) -> None:
    thread = threading.Thread(target=watcher.kick)
    thread.start()
    thread.join(10)
    assert handle(watcher) == 1
    assert handle(watcher) == 0
