"""The embedded host's loop: work for its thread is done once, also when the thread has ended."""

import os
import select
import threading
from collections.abc import Iterator

import pytest

from mapdev.host.embedded.loop import Loop

SOON = 30  # seconds: what takes longer hangs


class Thread:
    """A thread that does what its loop has for it, until `end`."""

    def __init__(self) -> None:
        self.loop = Loop()
        self._is_ending = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.loop.begin()
        while not self._is_ending:
            for fd, event in self.loop.epoll.poll(SOON):
                self.loop.handlers[fd](event)

    def end(self) -> None:
        self._is_ending = True
        self.loop.wake_up()
        self.thread.join(SOON)
        assert not self.thread.is_alive()


@pytest.fixture
def thread() -> Iterator[Thread]:
    thread = Thread()
    yield thread
    thread.end()
    thread.loop.close()


def test_work_is_done_in_the_thread(thread: Thread) -> None:
    assert thread.loop.submit(threading.get_ident) == thread.thread.ident
    assert thread.loop.in_thread(threading.get_ident) == thread.thread.ident
    inner = thread.loop.submit(lambda: thread.loop.in_thread(threading.get_ident))
    assert inner == thread.thread.ident  # at once: it would wait for itself


def test_what_work_raises_is_raised_to_who_asked(thread: Thread) -> None:
    with pytest.raises(ZeroDivisionError):
        thread.loop.submit(lambda: 1 // 0)
    assert thread.loop.submit(lambda: 1) == 1


def test_watching_ends_with_unwatch(thread: Thread) -> None:
    seen = threading.Event()
    fd = os.eventfd(1)
    thread.loop.submit(lambda: thread.loop.watch(fd, seen.set))
    assert seen.wait(SOON)
    thread.loop.submit(lambda: thread.loop.unwatch(fd))
    assert fd not in thread.loop.handlers
    os.close(fd)


def test_events_of_a_descriptor_go_with_it(thread: Thread) -> None:
    fd = os.eventfd(0)
    loop = thread.loop

    def leave() -> dict[int, int]:
        loop.watch(fd, lambda: None)
        loop.events = {fd: select.EPOLLIN, 0: select.EPOLLIN}
        loop.unwatch(fd)  # the next to open something may get this number
        return loop.events

    assert loop.submit(leave) == {0: select.EPOLLIN}
    os.close(fd)


def test_work_that_is_left_is_done_at_the_end() -> None:
    thread = Thread()
    thread.end()
    results: list[int] = []
    waiting = threading.Thread(target=lambda: results.append(thread.loop.submit(lambda: 7)))
    waiting.start()
    while not thread.loop._work:  # nobody fetches it
        assert waiting.is_alive()
    thread.loop.close()
    waiting.join(SOON)
    assert results == [7]


def test_after_the_end_work_is_done_by_who_asks() -> None:
    thread = Thread()
    thread.end()
    thread.loop.close()
    assert thread.loop.submit(threading.get_ident) == threading.get_ident()
    assert thread.loop.in_thread(threading.get_ident) == threading.get_ident()
    assert not thread.loop.post(lambda: None)
    thread.loop.wake_up()  # its descriptor may be another one's by now
    thread.loop.unwatch(99)
